"""Whether a GPU computes what the CPU and torchvision compute."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torchvision.models.video import mvit

from transm3e.benchmark.candidate import Entry, build_candidate
from transm3e.benchmark.gpu.rows import Row, Scale, failed
from transm3e.config import get_cfg, load_cfg
from transm3e.engine.precision import Precision, fastest_dtype
from transm3e.modalities import model_class
from transm3e.models import MODELS, build_model
from transm3e.models.weights import load_weights

CPU = torch.device("cpu")
# Relative root mean square errors of logits and of all gradients.
MOST_OFF = {torch.float64: 1e-9, torch.float32: 1e-3}
# As in tests/parity: mixed precision may cost us this much more than torchvision.
MARGIN = 1.1
DOUBLING = (1, 3, 14)  # blocks at which MViTv2-S doubles its width
CLASSES, WIDTH = 20, 96


def models(scale: Scale) -> Iterator[Row]:
    """Each registered model and variant on the device against the CPU in float64, in evaluation, with gradients."""
    configs = _one_config_of_each(scale.root)
    torch.backends.cudnn.allow_tf32 = False
    for name, (file, learns) in configs.items():
        if not learns:
            yield Row(name, "no weights", "nothing to compare")
            continue
        try:
            yield _compared(name, file, scale.where)
        except Exception as error:
            yield failed(name, error)
    for missing in sorted(set(MODELS) - {name.split()[0] for name in configs}):
        yield Row(missing, "not tried", "no config of it")


@torch.no_grad()
def parity(scale: Scale) -> Iterator[Row]:
    """MViTv2-S with torchvision's weights: logits beside torchvision's, against its own in float64."""
    torch.manual_seed(0)
    depth, frames, crop = scale.parity
    theirs, cfg = torchvision_mvit(frames, crop, depth), mvit_cfg(frames, crop, depth)
    ours = build_model(cfg)
    load_weights(ours, theirs.state_dict(), source="torchvision")
    clips = torch.rand(2, 3, frames, crop, crop).to(scale.where)
    pair = [model.eval().to(scale.where) for model in (ours, theirs)]
    exact = theirs.double()(clips.double())
    error = _error([ours.double()({"rgb": clips.double()}).logits], [exact])
    yield Row("fp64", f"{error:.1e}", f"at most {MOST_OFF[torch.float64]:.0e}", error <= MOST_OFF[torch.float64])
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        if dtype == torch.bfloat16 != fastest_dtype(scale.where):
            yield Row("bf16", "not tried", "this GPU has no units for it")
            continue
        for model in pair:
            model.float()
        with Precision(scale.where, dtype).autocast():
            given, reference = ours({"rgb": clips}).logits, theirs(clips)
        error, their_error = _error([given], [exact]), _error([reference], [exact])
        fine = error <= max(MARGIN * their_error, MOST_OFF[torch.float32])
        yield Row(_short(dtype), f"{error:.1e}", f"torchvision {their_error:.1e}", fine)


def _compared(name: str, file: str, device: torch.device) -> Row:
    candidate = build_candidate(Entry(name, file, file), CPU, with_teacher=False)
    model, clips = candidate.task.model, candidate.task.inputs(candidate.batch(2, CPU).clips)
    exact = _computed(model, clips, CPU, torch.float64)
    errors = {dtype: _error(_computed(model, clips, device, dtype), exact) for dtype in MOST_OFF}
    return Row(
        name,
        ", ".join(f"{_short(dtype)} {error:.1e}" for dtype, error in errors.items()),
        "at most " + ", ".join(f"{bound:.0e}" for bound in MOST_OFF.values()),
        all(error <= MOST_OFF[dtype] for dtype, error in errors.items()),
    )


def _one_config_of_each(root: Path) -> dict[str, tuple[str, bool]]:
    """Model, its variant and whether it is a student -> (a small config, whether it has weights)."""
    found: dict[str, tuple[str, bool]] = {}
    for folder in ("MuscleSynth", "FreeExercise"):
        for file in sorted((root / "configs" / folder).glob("*.yaml")):
            cfg = load_cfg(str(file))
            name = f"{cfg.MODEL.MODEL_NAME} {cfg.MODEL.ARCH} {'student' if cfg.TRANSM3E.RECEIVERS else ''}"
            found.setdefault(" ".join(name.split()), (str(file), model_class(cfg).learns))
    return dict(sorted(found.items()))


def _computed(model: nn.Module, clips: dict[str, Tensor], device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    """Logits and all gradients of a copy."""
    model = copy.deepcopy(model).to(device, dtype).eval()
    logits = model({name: clip.to(device, dtype) for name, clip in clips.items()}).logits
    logits.square().sum().backward()
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in model.parameters()]
    return [logits.detach(), torch.cat([gradient.flatten() for gradient in gradients])]


def _error(given: Iterable[Tensor], exact: Iterable[Tensor]) -> float:
    """The largest of the parts' root mean square errors, each in that of the exact values."""
    errors = []
    for ours, theirs in zip(given, exact, strict=True):
        theirs = theirs.double().cpu()
        off = (ours.double().cpu() - theirs).square().mean() / theirs.square().mean()
        errors.append(off.sqrt().item())
    return max(errors, key=lambda error: (error != error, error))  # NaN is the largest


def torchvision_mvit(
    frames: int, crop: int, depth: int, doubling: Sequence[int] = DOUBLING, embed: int = WIDTH, heads: int = 1
) -> nn.Module:
    """The first blocks of torchvision's MViTv2, which has a builder of S only, and for one size of clips."""
    blocks, width, kv = [], embed, 8
    for block in range(depth):
        doubled, width_in = block in doubling, width
        width, kv = (2 * width, kv // 2) if doubled else (width, kv)
        q = [1, 2, 2] if doubled else [1, 1, 1]
        blocks.append(mvit.MSBlockConfig(heads * width // embed, width_in, width, [3] * 3, [3] * 3, q, [1, kv, kv]))
    model = mvit.MViT(
        spatial_size=(crop, crop),
        temporal_size=frames,
        block_setting=blocks,
        residual_pool=True,
        residual_with_cls_embed=False,
        rel_pos_embed=True,
        proj_after_attn=True,
        num_classes=CLASSES,
    )
    return with_tables(model)


def with_tables(model: nn.Module) -> nn.Module:
    """torchvision's model with relative positions that matter."""
    for name, parameter in model.named_parameters():
        if "rel_pos" in name:  # some begin at zero
            nn.init.normal_(parameter, std=0.5)
    return model


def mvit_cfg(frames: int, crop: int, depth: int, doubling: Sequence[int] = DOUBLING) -> CfgNode:
    """Of our model of the same blocks."""
    cfg = get_cfg()
    cfg.MODEL.MODEL_NAME, cfg.MODEL.NUM_CLASSES = "MViT", CLASSES
    cfg.DATA.NUM_FRAMES, cfg.DATA.TRAIN_CROP_SIZE, cfg.MVIT.DEPTH = frames, crop, depth
    cfg.MVIT.DIM_MUL = cfg.MVIT.HEAD_MUL = [[block, 2.0] for block in doubling if block < depth]
    cfg.MVIT.POOL_Q_STRIDE = [[i, 1, 2, 2] if i in doubling else [i, 1, 1, 1] for i in range(depth)]
    return cfg


def _short(dtype: torch.dtype) -> str:
    names = {torch.float64: "fp64", torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
    return names[dtype]
