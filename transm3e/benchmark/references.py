"""Models of other libraries to measure ours against, by the names that --against takes.

Settings of pytorchvideo's models are those of its model zoo (8x8, ResNet-50); here the head's pooling follows the
clip's size, so any clip that the stem can divide is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torchvision
from torch import Tensor, nn
from torchvision.models import video

from transm3e.errors import UserError
from transm3e.registry import Registry

Size = tuple[int, int, int]
# (clip size (T, H, W), number of classes) -> module from (B, 3, T, H, W) float to logits (B, classes).
Builder = Callable[[Size, int], nn.Module]

REFERENCES: Registry[Builder] = Registry("--against")
# The relative positions and pooled sizes of these are made for one clip size.
FIXED_SIZE: dict[str, Size] = {"mvit_v1_b": (16, 224, 224), "mvit_v2_s": (16, 224, 224)}
# SlowFast: the fast pathway sees all frames, the slow one every fourth; both shrink H and W by this.
SLOWFAST_ALPHA, SPATIAL_STRIDE = 4, 32
CONV_A: dict[str, tuple] = {
    "c2d_r50": ((1, 1, 1),) * 4,
    "i3d_r50": ((3, 1, 1), [(3, 1, 1), (1, 1, 1)], [(3, 1, 1), (1, 1, 1)], [(1, 1, 1), (3, 1, 1)]),
}


def check_reference(name: str, size: Size) -> None:
    """Whether a reference exists and takes clips of this size.

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


def _flat_resnet(name: str, stem_kernel: Size, size: Size, num_classes: int) -> nn.Module:
    """C2D and I3D: the first stage's pool halves the frames."""
    from pytorchvideo.models.resnet import create_resnet

    return create_resnet(
        model_depth=50,
        model_num_class=num_classes,
        stem_conv_kernel_size=stem_kernel,
        stage1_pool=nn.MaxPool3d,
        stage_conv_a_kernel_size=CONV_A[name],
        head_pool_kernel_size=(size[0] // 2, *_pooled(size)),
    )


def _slow(size: Size, num_classes: int) -> nn.Module:
    from pytorchvideo.models.resnet import create_resnet

    return create_resnet(
        model_depth=50,
        model_num_class=num_classes,
        stem_conv_kernel_size=(1, 7, 7),
        head_pool_kernel_size=(size[0], *_pooled(size)),
    )


class _SlowFast(nn.Module):
    """Cuts a clip (B, 3, T, H, W) into the two pathways of pytorchvideo's SlowFast."""

    def __init__(self, size: Size, num_classes: int) -> None:
        super().__init__()
        from pytorchvideo.models.slowfast import create_slowfast

        pooled = _pooled(size)
        self.model = create_slowfast(
            model_depth=50,
            model_num_class=num_classes,
            slowfast_fusion_conv_kernel_size=(7, 1, 1),
            head_pool_kernel_sizes=((size[0] // SLOWFAST_ALPHA, *pooled), (size[0], *pooled)),
        )

    def forward(self, clips: Tensor) -> Tensor:
        return self.model([clips[:, :, ::SLOWFAST_ALPHA], clips])


def _pooled(size: Size) -> tuple[int, int]:
    return size[1] // SPATIAL_STRIDE, size[2] // SPATIAL_STRIDE


def _text(size: Size) -> str:
    return "x".join(map(str, size))


def _register_all() -> None:
    for name in torchvision.models.list_models(module=video):
        REFERENCES.register(f"torchvision:{name}")(partial(_torchvision, name))
    builders: dict[str, Any] = {
        "c2d_r50": partial(_flat_resnet, "c2d_r50", (1, 7, 7)),
        "i3d_r50": partial(_flat_resnet, "i3d_r50", (5, 7, 7)),
        "slow_r50": _slow,
        "slowfast_r50": _SlowFast,
    }
    for name, builder in builders.items():
        REFERENCES.register(f"pytorchvideo:{name}")(builder)


_register_all()
