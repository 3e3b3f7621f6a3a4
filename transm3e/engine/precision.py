"""Automatic mixed precision, in the type that the device supports."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from fvcore.common.config import CfgNode

# Hardware support of bf16 starts at compute capability 8.0; below it, is_bf16_supported() may be true by emulation.
BF16_CAPABILITY = (8, 0)
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Precision:
    """Autocast and, for fp16, the gradient scaler.

    Args:
        device: where training runs.
        dtype: of the fast operations; float32 = no mixed precision.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)

    @classmethod
    def from_cfg(cls, cfg: CfgNode, device: torch.device, testing: bool = False) -> Precision:
        """Of training, or of evaluation and prediction: TEST.MIXED_PRECISION."""
        if testing and cfg.TEST.MIXED_PRECISION != "as_trained":
            return cls(device, {"off": torch.float32, **DTYPES}[cfg.TEST.MIXED_PRECISION])
        if not cfg.TRAIN.MIXED_PRECISION:
            return cls(device, torch.float32)
        return cls(device, {**DTYPES, "auto": fastest_dtype(device)}[cfg.TRAIN.AMP_DTYPE])

    def autocast(self) -> AbstractContextManager:
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32)


def fastest_dtype(device: torch.device) -> torch.dtype:
    """bf16 where the device supports it, and on CPUs; else fp16."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < BF16_CAPABILITY:
        return torch.float16
    return torch.bfloat16
