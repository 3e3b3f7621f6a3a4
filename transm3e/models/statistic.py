"""Random and All Ones: the statistic baselines of table 2. They have no weights and learn nothing."""

from __future__ import annotations

import torch
from fvcore.common.config import CfgNode
from torch import Tensor

from transm3e.modalities import JOINTS, PIXELS
from transm3e.models.output import ModelOutput
from transm3e.models.registry import MODELS, Model


@MODELS.register("Random")
class Random(Model):
    """Standard normal logits, drawn from the seed and the clip's own pixels, so neither batch nor order matters.

    Args:
        modality: the clip it reads.
        num_classes: width of the output.
        seed: of the draw.
    """

    reads = (PIXELS, JOINTS)
    learns = False
    draws = True

    def __init__(self, modality: str, num_classes: int, seed: int = 0) -> None:
        super().__init__()
        self.modality, self.num_classes, self.seed = modality, num_classes, seed

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> Random:
        return cls(cfg.DATA.MODALITY, cfg.MODEL.NUM_CLASSES, cfg.RNG_SEED)

    def forward(self, clips: dict[str, Tensor]) -> ModelOutput:
        """clips[modality]: (B, C, T, H, W) -> logits (B, num_classes)."""
        x = clips[self.modality]
        logits = [self._draw(clip) for clip in x]
        return ModelOutput(torch.stack(logits).to(x.device))

    def _draw(self, clip: Tensor) -> Tensor:
        # Sum in float64, scaled so that one grey level in one pixel changes the seed.
        pixels = int(clip.double().abs().sum().item() * 256)
        generator = torch.Generator().manual_seed((pixels * 1_000_003 + self.seed) % 2**63)
        return torch.randn(self.num_classes, generator=generator)


@MODELS.register("AllOnes")
class AllOnes(Model):
    """The same logit for every muscle: its average precision is the share of clips that carry the muscle.

    Args:
        modality: the clip it reads the batch size from.
        num_classes: width of the output.
    """

    reads = (PIXELS, JOINTS)
    learns = False

    def __init__(self, modality: str, num_classes: int) -> None:
        super().__init__()
        self.modality, self.num_classes = modality, num_classes

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> AllOnes:
        return cls(cfg.DATA.MODALITY, cfg.MODEL.NUM_CLASSES)

    def forward(self, clips: dict[str, Tensor]) -> ModelOutput:
        """clips[modality]: (B, ...) -> logits (B, num_classes), all 1."""
        x = clips[self.modality]
        return ModelOutput(torch.ones(x.shape[0], self.num_classes, device=x.device))
