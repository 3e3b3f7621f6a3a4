"""Models of other libraries to measure ours against, by the names that --against takes.

pytorchvideo's models are those of its model zoo (8x8, ResNet-50), except for the head's pooling, which here accepts clips
of any size.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torchvision
from torch import Tensor, nn
from torchvision.models import video

from transm3e.errors import UserError
from transm3e.models.resnet3d import find_builder
from transm3e.models.slowfast import slow_frames
from transm3e.registry import Registry

Size = tuple[int, int, int]
# (clip size (T, H, W), number of classes) -> module from (B, 3, T, H, W) float to logits (B, classes).
Builder = Callable[[Size, int], nn.Module]

REFERENCES: Registry[Builder] = Registry("--against")
# Models with relative positions and pooled sizes for a fixed clip size.
FIXED_SIZE: dict[str, Size] = {"mvit_v1_b": (16, 224, 224), "mvit_v2_s": (16, 224, 224)}
FLAT, SLOWFAST = ("c2d_r50", "i3d_r50", "slow_r50"), "slowfast_r50"
SLOWFAST_ALPHA = 4


def check_reference(name: str, size: Size) -> None:
    """Check that a reference exists and takes clips of this size.

    Raises:
        UserError: unknown name (lists the known ones), or another clip size.
    """
    REFERENCES[name]
    fixed = FIXED_SIZE.get(name.partition(":")[2])
    if fixed and fixed != size:
        raise UserError(
            f"--against {name} takes clips of {_text(fixed)} only, the config's are {_text(size)}; "
            "name another reference, or --against none"
        )


def _torchvision(name: str, size: Size, num_classes: int) -> nn.Module:
    return torchvision.models.get_model(name, weights=None, num_classes=num_classes)


def _pytorchvideo(name: str, size: Size, num_classes: int) -> nn.Module:
    return find_builder(f"hub.{name}")(model_num_class=num_classes, head_pool=nn.AdaptiveAvgPool3d)


class _SlowFast(nn.Module):
    """Cuts a clip (B, 3, T, H, W) into the two pathways of pytorchvideo's SlowFast."""

    def __init__(self, size: Size, num_classes: int) -> None:
        super().__init__()
        self.model = _pytorchvideo(SLOWFAST, size, num_classes)

    def forward(self, clips: Tensor) -> Tensor:
        return self.model([slow_frames(clips, SLOWFAST_ALPHA), clips])


def _text(size: Size) -> str:
    return "x".join(map(str, size))


def _register_all() -> None:
    for name in torchvision.models.list_models(module=video):
        REFERENCES.register(f"torchvision:{name}")(partial(_torchvision, name))
    for name in FLAT:
        REFERENCES.register(f"pytorchvideo:{name}")(partial(_pytorchvideo, name))
    REFERENCES.register(f"pytorchvideo:{SLOWFAST}")(_SlowFast)


_register_all()
