"""A whole training step compiles to one graph, computes what the plain step does, and is compiled once.

TRANSM3E_COMPILER is torch.compile's backend here: by default one that takes seconds; users have "inductor".
"""

from __future__ import annotations

import copy
import os

import pytest
import torch

from transm3e.data.modalities import build_modalities
from transm3e.data.types import Batch
from transm3e.losses import LOSSES
from transm3e.models import build_model
from transm3e.tasks import Classify, build_distill

BACKEND = os.environ.get("TRANSM3E_COMPILER", "aot_eager")


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def shortened(cfg):
    """Two blocks: each takes seconds to compile. Eight frames, four after the patch embedding."""
    cfg.DATA.NUM_FRAMES, cfg.MVIT.DEPTH = 8, 2
    cfg.MVIT.DIM_MUL = cfg.MVIT.HEAD_MUL = [[1, 2.0]]
    cfg.MVIT.POOL_Q_STRIDE = [[0, 1, 1, 1], [1, 1, 2, 2]]
    return cfg


def make_batch(seed):
    draw = torch.Generator().manual_seed(seed)
    clips = {"rgb": torch.randint(0, 256, (4, 3, 8, 32, 32), dtype=torch.uint8, generator=draw)}
    labels = (torch.rand(2, 20, generator=draw) < 0.3).float().repeat_interleave(2, 0)
    return Batch(clips, labels, torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1]), samples=2)


def make_task(cfg, pair_case):
    """Distill with this pair case, 1 with CENTRE; None = Classify, without receivers and fusion."""
    if pair_case is None:
        cfg.TRANSM3E.RECEIVERS = False
        return Classify(build_model(cfg), LOSSES["bce_softmax"], build_modalities(cfg, ["rgb"]))
    teacher_cfg = cfg.clone()
    teacher_cfg.TRANSM3E.RECEIVERS, teacher_cfg.DATA.MODALITY = False, "rgb_diff"
    cfg.DISTILL.PAIR_CASE, cfg.DISTILL.CENTRE = pair_case, pair_case == 1
    return build_distill(cfg, build_model(cfg), build_model(teacher_cfg))


def step(task, seed, dtype):
    """Scalars and gradients of one step, with the random numbers of `seed`."""
    task.model.zero_grad()
    torch.manual_seed(seed)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        out = task(make_batch(seed))
    out["loss"].backward()
    scalars = {name: value.item() for name, value in out.items() if name != "logits"}
    return scalars, {name: parameter.grad.clone() for name, parameter in task.model.named_parameters()}


@pytest.mark.parametrize(
    ("pair_case", "recompute", "dtype"),
    [
        (None, True, torch.bfloat16),
        (1, True, torch.float32),
        (3, False, torch.float32),
    ],
    ids=["classify-checkpoint-bf16", "case1-checkpoint-centre", "case3"],
)
def test_the_compiled_step_is_the_step(student_cfg, pair_case, recompute, dtype):
    cfg = shortened(student_cfg)
    cfg.MODEL.ACT_CHECKPOINT = recompute
    plain = make_task(cfg, pair_case)
    plain.train()
    compiled = copy.deepcopy(plain)
    compiled._step = compiled.classify if pair_case is None else compiled.distill
    compiled.compile(fullgraph=True, backend=BACKEND)
    tolerance = 1e-6 if dtype == torch.float32 else 2e-2
    for seed in range(3):
        with torch._dynamo.config.patch(error_on_recompile=seed > 1):
            scalars, gradients = step(compiled, seed, dtype)
        expected, expected_gradients = step(plain, seed, dtype)
        assert scalars == pytest.approx(expected, rel=tolerance, abs=tolerance)
        largest = max(gradient.abs().max() for gradient in expected_gradients.values())
        for name, gradient in expected_gradients.items():
            assert (gradients[name] - gradient).abs().max() <= tolerance * largest, name


@pytest.mark.parametrize(
    ("name", "modality", "shape"), [("STGCN", "skeleton", (3, 8, 17, 1)), ("ResNet", "rgb", (3, 8, 32, 32))]
)
def test_other_models_compile(tiny_cfg, name, modality, shape):
    tiny_cfg.MODEL.MODEL_NAME, tiny_cfg.MODEL.ARCH, tiny_cfg.DATA.MODALITY = name, "slow", modality
    tiny_cfg.RESNET.WIDTH_PER_GROUP = 8
    plain = Classify(build_model(tiny_cfg), LOSSES["bce_softmax"], build_modalities(tiny_cfg, [modality]))
    plain.train()
    compiled = copy.deepcopy(plain)
    compiled._step = compiled.classify
    compiled.compile(fullgraph=True, backend=BACKEND)
    # Pixels; numbers to 1 are all but black, which batch norms make noise of.
    clip = torch.rand(2, *shape) if modality == "skeleton" else torch.randint(0, 256, (2, *shape), dtype=torch.uint8)
    clips, labels = {modality: clip}, torch.eye(20)[:2]
    losses = []
    for task in (compiled, plain):
        torch.manual_seed(0)
        losses.append(task._step(clips, labels)["loss"])
    for loss in losses:
        loss.backward()
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)
    pairs = zip(compiled.model.parameters(), plain.model.parameters(), strict=True)
    assert all((a.grad - b.grad).abs().max() <= 1e-4 * b.grad.abs().max() + 1e-6 for a, b in pairs)
