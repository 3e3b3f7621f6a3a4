"""A linear layer's product where it can be computed faster than torch.nn.functional.linear does."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# With fewer rows repacking the weights costs more than it gains.
LEAST_ROWS = 64


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x @ weight.T + bias, as torch.nn.functional.linear.

    Without gradients on a CPU it runs as a 1x1 convolution over channels-last rows: oneDNN packs the weights and adds
    the bias in the same pass, a tenth faster than the BLAS of PyTorch's builds on AMD processors.

    Args:
        x: (..., D_in).
        weight: (D_out, D_in).
        bias: (D_out,) or None.

    Returns:
        (..., D_out).
    """
    if not _by_convolution(x, weight):
        return F.linear(x, weight, bias)
    rows = x.reshape(1, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)
    out = F.conv2d(rows, weight[:, :, None, None], bias).permute(0, 2, 3, 1)
    return out.reshape(*x.shape[:-1], len(weight))


def _by_convolution(x: Tensor, weight: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.shape[:-1].numel() >= LEAST_ROWS
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and torch.backends.mkldnn.is_available()
    )
