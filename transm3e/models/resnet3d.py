"""C2D, I3D and Slow (Wang et al. 2018, Carreira and Zisserman 2017, Feichtenhofer et al. 2019) on pytorchvideo's nets.

Shapes: B clips, C channels, T frames of H x W pixels.
Kernels and names of parameters are those of pytorchvideo's model zoo, which are PySlowFast's nets under other names.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from importlib import import_module
from typing import Any, ClassVar, NamedTuple

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint
from torch.utils.hooks import RemovableHandle

from transm3e.errors import UserError
from transm3e.layers.windows import WindowPool, WindowScores
from transm3e.modalities import MODALITIES
from transm3e.models.output import ModelOutput
from transm3e.models.registry import MODELS, Model, See
from transm3e.registry import component

# Pixels per feature, in each direction.
STRIDE = 32
# Layers -> residual blocks of each stage.
DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


class Arch(NamedTuple):
    """Differences between these nets.

    Attributes:
        stem: frames of the first convolution's kernel.
        stages: per stage, frames of the kernels of its blocks' first convolutions, repeated over its blocks.
        pool: frames that the max pool after the first stage pools into one; 1 = no pool.
    """

    stem: int
    stages: tuple[tuple[int, ...], ...]
    pool: int


ARCHS = {
    "c2d": Arch(1, ((1,), (1,), (1,), (1,)), 2),
    "i3d": Arch(5, ((3,), (3, 1), (3, 1), (1, 3)), 2),
    "slow": Arch(1, ((1,), (1,), (3,), (3,)), 1),
    "c2d_nopool": Arch(1, ((1,), (1,), (1,), (1,)), 1),
    "i3d_nopool": Arch(5, ((3,), (3, 1), (3, 1), (1, 3)), 1),
}


@MODELS.register("ResNet")
class ResNet3D(Model):
    """C2D, I3D or Slow of bottleneck blocks, with pytorchvideo's net as `net`.

    The head takes the mean over all frames and positions, then the linear layer. In evaluation at a larger size a window of
    the training size slides over the features, and scores are averaged after the softmax, so that the middle counts more.

    Args:
        arch: key of ARCHS.
        num_classes: width of the output.
        depth: layers, one of DEPTHS.
        temporal_blocks: of each stage, how many blocks follow ARCHS, the others having kernels of one frame
            (PySlowFast's NUM_BLOCK_TEMP_KERNEL; its R101 "50_50" has those of 50 layers); None = all.
        width: channels of the stem; 64 is the published size.
        dropout: before the last linear layer.
        fc_init_std: standard deviation of the last linear layer's initial weights.
        zero_init_final_bn: the last batch norm of every block starts at 0, else at 1.
        act_checkpoint: keep only each residual block's input for the backward pass and compute the block again there.
        modality: the clip it reads, a key of MODALITIES.
        window: side of the head's windows in features, see transm3e.layers.windows; 0 = all positions are one window.
        sigmoid: what scores of windows are, see there.

    Raises:
        UserError: unknown arch or depth, or pytorchvideo does not import.
    """

    config_keys = ("RESNET.", "MODEL.ARCH")
    can_checkpoint = True
    # Of MODEL.ARCH; whether RESNET.NUM_BLOCK_TEMP_KERNEL is read.
    ending: ClassVar[str] = ""
    some_blocks: ClassVar[bool] = True

    def __init__(
        self,
        arch: str,
        num_classes: int,
        depth: int = 50,
        width: int = 64,
        dropout: float = 0.0,
        fc_init_std: float = 0.01,
        zero_init_final_bn: bool = True,
        act_checkpoint: bool = False,
        modality: str = "rgb",
        temporal_blocks: Sequence[int | Sequence[int]] | None = None,
        window: int = 0,
        sigmoid: bool = False,
    ) -> None:
        super().__init__()
        check_arch(arch)
        kernels = ARCHS[arch]
        self.arch, self.modality, self.min_frames = arch, modality, kernels.pool
        self.net = find_builder("create_resnet")(
            input_channel=MODALITIES[modality].channels,
            model_depth=depth,
            model_num_class=num_classes,
            dropout_rate=dropout,
            stem_dim_out=width,
            stem_conv_kernel_size=(kernels.stem, 7, 7),
            stage1_pool=nn.MaxPool3d if kernels.pool > 1 else None,
            stage1_pool_kernel_size=(kernels.pool, 1, 1),
            stage_conv_a_kernel_size=stage_kernels(kernels.stages, depth, temporal_blocks),
            head_pool=nn.AdaptiveAvgPool3d,
        )
        finish(self.net, fc_init_std, zero_init_final_bn, act_checkpoint, window, sigmoid)

    @classmethod
    def check(cls, cfg: CfgNode) -> None:
        check_arch(cfg.MODEL.ARCH.removesuffix(cls.ending) + cls.ending)
        check_bottleneck(cfg)
        temporal_kernels(cfg.RESNET.DEPTH, read_temporal_blocks(cfg, cls.some_blocks))

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> ResNet3D:
        return cls(
            cfg.MODEL.ARCH.removesuffix(cls.ending) + cls.ending,
            **common_args(cfg),
            temporal_blocks=read_temporal_blocks(cfg, cls.some_blocks),
        )

    def watch_features(self, see: See) -> RemovableHandle:
        return watch_last_stage(self.net, see)

    def forward(self, clips: dict[str, Tensor]) -> ModelOutput:
        """clips[modality]: (B, C, T, H, W) float, any T from 1 (C2D, I3D: 2), H and W -> logits (B, num_classes).

        Raises:
            UserError: too few frames.
        """
        x_BCTHW = clips[self.modality]
        if x_BCTHW.shape[2] < self.min_frames:
            raise UserError(
                f"a clip has {x_BCTHW.shape[2]} frame(s), but MODEL.ARCH {self.arch} pools {self.min_frames} to one; "
                f"set DATA.NUM_FRAMES to {self.min_frames} or more"
            )
        return ModelOutput(self.net(x_BCTHW))


@MODELS.register("PTVResNet")
class PTVResNet(ResNet3D):
    """PySlowFast's name of the same nets as pytorchvideo builds them: RESNET.NUM_BLOCK_TEMP_KERNEL is not read."""

    also_starts_from = ("ResNet",)
    some_blocks = False


@MODELS.register("ResNet_nopool")
class ResNetNoPool(ResNet3D):
    """PySlowFast's name of the nets of MODEL.ARCH c2d or i3d without the max pool over time."""

    ending = "_nopool"


class CheckpointedStage(nn.Module):
    """pytorchvideo's stage of residual blocks, each block computed again in the backward pass; same names, same result.

    Args:
        res_blocks: of the stage that it replaces.
    """

    def __init__(self, res_blocks: nn.ModuleList) -> None:
        super().__init__()
        self.res_blocks = res_blocks

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        for block in self.res_blocks:
            x_BCTHW = self._again(block, x_BCTHW) if torch.is_grad_enabled() else block(x_BCTHW)
        return x_BCTHW

    def _again(self, block: nn.Module, x_BCTHW: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            # A compiled graph updates the statistics once by itself, and takes no contexts.
            return checkpoint(block, x_BCTHW, use_reentrant=False)
        return checkpoint(block, x_BCTHW, use_reentrant=False, context_fn=partial(_first_and_second, block))


def watch_last_stage(net: Any, see: See) -> RemovableHandle:
    """See Model.watch_features: what the head reads, of a net of one pathway."""
    return net.blocks[-2].register_forward_hook(lambda _, __, out: see(out, lambda x: x) and None)


def net_args(cfg: CfgNode) -> dict[str, Any]:
    """Arguments that all models of pytorchvideo's nets have in common."""
    loss = component("MODEL.LOSS_FUNC", cfg.MODEL.LOSS_FUNC)
    return {
        "num_classes": cfg.MODEL.NUM_CLASSES,
        "dropout": cfg.MODEL.DROPOUT_RATE,
        "fc_init_std": cfg.MODEL.FC_INIT_STD,
        "zero_init_final_bn": cfg.RESNET.ZERO_INIT_FINAL_BN,
        "act_checkpoint": cfg.MODEL.ACT_CHECKPOINT,
        "modality": cfg.DATA.MODALITY,
        "window": math.ceil(cfg.DATA.TRAIN_CROP_SIZE / STRIDE),
        "sigmoid": loss.of_each if cfg.MODEL.HEAD_ACT == "auto" else cfg.MODEL.HEAD_ACT == "sigmoid",
    }


def common_args(cfg: CfgNode) -> dict[str, Any]:
    """Arguments that models of bottleneck ResNets have in common."""
    return net_args(cfg) | {"depth": cfg.RESNET.DEPTH, "width": cfg.RESNET.WIDTH_PER_GROUP}


def read_temporal_blocks(cfg: CfgNode, some: bool) -> list:
    """RESNET.NUM_BLOCK_TEMP_KERNEL, or [], all blocks, where a model does not read it."""
    return cfg.RESNET.NUM_BLOCK_TEMP_KERNEL if some else []


def stage_kernels(
    stages: Sequence[Sequence[int]],
    depth: int,
    temporal_blocks: Sequence[int | Sequence[int]] | None = None,
    pathway: int = 0,
    pathways: int = 1,
) -> list[list[tuple[int, int, int]]]:
    """Kernels of the first convolution of each block of each stage.

    Args:
        stages: frames of a stage's kernels, repeated over its blocks.
        depth, temporal_blocks, pathways: see temporal_kernels.
        pathway: which of them.

    Raises:
        UserError: see temporal_kernels.
    """
    with_kernel = temporal_kernels(depth, temporal_blocks, pathways)
    return [
        [(frames[i % len(frames)] if i < some[pathway] else 1, 1, 1) for i in range(count)]
        for frames, count, some in zip(stages, DEPTHS[depth], with_kernel, strict=True)
    ]


def temporal_kernels(
    depth: int, temporal_blocks: Sequence[int | Sequence[int]] | None = None, pathways: int = 1
) -> list[list[int]]:
    """How many blocks of each stage have the stage's temporal kernel, in each pathway.

    Args:
        depth: a key of DEPTHS.
        temporal_blocks: of each stage a number for all pathways, or one for each; none = all blocks.

    Raises:
        UserError: no such depth, or more blocks or numbers than there are.
    """
    check_depth(depth)
    most = DEPTHS[depth]
    given: list[list[Any]] = [[*of] if isinstance(of, list | tuple) else [of] for of in temporal_blocks or most]
    stages = [of[:1] * pathways if len(set(map(str, of))) == 1 else of for of in given]
    if len(stages) != len(most) or not all(
        len(of) == pathways and all(type(number) is int and 0 <= number <= blocks for number in of)
        for of, blocks in zip(stages, most, strict=True)
    ):
        raise UserError(
            f"RESNET.NUM_BLOCK_TEMP_KERNEL is {list(temporal_blocks or ())}; it must hold one number of blocks for each "
            f"stage, or in SlowFast two, up to {[[blocks] for blocks in most]} for RESNET.DEPTH {depth}; [] = all"
        )
    return stages


def check_depth(depth: int) -> None:
    """Refuse an unknown RESNET.DEPTH.

    Raises:
        UserError: names the key, its value and what is allowed.
    """
    if depth not in DEPTHS:
        raise UserError(f"RESNET.DEPTH is {depth}; allowed: {', '.join(map(str, DEPTHS))}")


def check_bottleneck(cfg: CfgNode) -> None:
    """Refuse X3D's residual blocks in other nets.

    Raises:
        UserError: names the key, its value and what is allowed.
    """
    if cfg.RESNET.TRANS_FUNC != "bottleneck_transform":
        raise UserError(
            f"RESNET.TRANS_FUNC is {cfg.RESNET.TRANS_FUNC}, which only MODEL.MODEL_NAME X3D has; set bottleneck_transform"
        )


def check_arch(arch: str) -> None:
    """Refuse an unknown MODEL.ARCH.

    Raises:
        UserError: names the key, its value and what is allowed.
    """
    if arch not in ARCHS:
        raise UserError(f"MODEL.ARCH is {arch!r}; allowed for MODEL.MODEL_NAME ResNet: {', '.join(ARCHS)}")


def find_builder(name: str) -> Callable[..., nn.Module]:
    """A function of pytorchvideo.models, imported only where such a model is built.

    Args:
        name: behind pytorchvideo.models, as create_resnet or hub.slow_r50.

    Raises:
        UserError: pytorchvideo is missing, or broken by the torch or torchvision beside it.
    """
    module, _, function = f"pytorchvideo.models.{name}".rpartition(".")
    try:
        with warnings.catch_warnings():
            # It calls torch.jit.script, which newer torch versions call deprecated.
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            return getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"C2D, I3D, Slow, SlowFast, X3D, CSN and R(2+1)D need pytorchvideo's models, which do not import ({why}); "
            "pip install pytorchvideo==0.1.5, or choose another model"
        ) from error


def finish(
    net: nn.Module,
    fc_init_std: float,
    zero_init_final_bn: bool,
    act_checkpoint: bool,
    window: int = 0,
    sigmoid: bool = False,
) -> None:
    """Initial weights where PySlowFast's settings differ from pytorchvideo's, plain strides, the head's windows, activation
    checkpoints.

    Args:
        net: of one of pytorchvideo's builders; changed in place.
        fc_init_std, zero_init_final_bn, act_checkpoint, window, sigmoid: see ResNet3D.
    """
    for module in list(net.modules()):
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=fc_init_std)
        # pytorchvideo's mark of the last batch norm of a block.
        elif isinstance(module, nn.BatchNorm3d) and hasattr(module, "block_final_bn") and not zero_init_final_bn:
            nn.init.ones_(module.weight)
        elif isinstance(module, nn.Conv3d):
            # Some strides are NumPy numbers, which torch.compile treats as tensors.
            t, h, w = map(int, module.stride)
            module.stride = (t, h, w)
        for name, child in module.named_children():
            if name == "output_pool":
                setattr(module, name, WindowScores(sigmoid))
            elif isinstance(child, nn.AvgPool3d | nn.AdaptiveAvgPool3d):
                setattr(module, name, WindowPool(window))
            blocks = getattr(child, "res_blocks", None)
            if act_checkpoint and isinstance(blocks, nn.ModuleList):
                setattr(module, name, CheckpointedStage(blocks))


def _first_and_second(block: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    return nullcontext(), _statistics_kept(block)


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """The second computation of a batch must not count as a second batch in the running statistics."""
    norms = [m for m in block.modules() if isinstance(m, _BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, counter) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, counter
