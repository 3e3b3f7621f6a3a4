"""The distillation task: which clip the teacher sees, what gets gradients, what prediction needs."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from transm3e.config.check import check_cfg
from transm3e.config.node import merge, opt_settings
from transm3e.data.modalities import build_modalities
from transm3e.data.types import Batch
from transm3e.distill import build_distiller
from transm3e.errors import UserError
from transm3e.losses import LOSSES
from transm3e.models import ModelOutput, build_model
from transm3e.runs.starts import check_teacher
from transm3e.tasks import Classify, Distill, build_distill, build_task
from transm3e.tasks.distill import _pick

# Student settings of each method; the teacher is of the same model without receivers, but for these.
METHODS = {
    "mctkd": ["TRANSM3E.RECEIVERS", True],
    "kd": ["TRANSM3E.RECEIVERS", False],
    "logits": ["MODEL.MODEL_NAME", "MViT"],
    "deit": ["MODEL.MODEL_NAME", "DeiT", "DISTILL.WEIGHT", 0.5, "DISTILL.CLASS_WEIGHT", 0.5],
}
TEACHER_OF = {"logits": "MViT", "deit": "MViT"}
# Gradients that are zero by mathematics, as in tests/test_every_model.py.
TRULY_ZERO = re.compile(r"norm_k\.bias$|blocks\.2\.attn\.(pool_q\.weight|rel_pos_[thw])$")


def make_batch(videos=2, samples=2, size=32):
    torch.manual_seed(1)
    clips = {"rgb": torch.randint(0, 256, (videos * samples, 3, 4, size, size), dtype=torch.uint8)}
    labels = (torch.rand(videos, 20) < 0.3).float().repeat_interleave(samples, 0)
    rows = torch.arange(videos).repeat_interleave(samples)
    return Batch(clips, labels, rows, torch.arange(samples).repeat(videos), samples=samples)


def make_task(cfg, pair_case=3, teacher=None, teacher_drop_path=False):
    teacher_cfg = cfg.clone()
    teacher_cfg.TRANSM3E.RECEIVERS, teacher_cfg.DATA.MODALITY = False, "rgb_diff"
    return Distill(
        build_model(cfg),
        teacher or build_model(teacher_cfg),
        LOSSES["bce_softmax"],
        build_modalities(cfg, ["rgb"]),
        build_modalities(cfg, ["rgb_diff"]),
        build_distiller(cfg),
        weight=1.0,
        pair_case=pair_case,
        teacher_drop_path=teacher_drop_path,
    )


def method_cfgs(cfg, method, *opts):
    """Configs of a method's student and teacher, checked."""
    cfg.INIT.TEACHER_FROM, cfg.TRANSM3E.FUSION, cfg.MVIT.DROPPATH_RATE = "teacher.pyth", "mean", 0.0
    cfg.TRANSM3E.RECEIVERS = False
    merge(cfg, opt_settings(["DISTILL.METHOD", method, *METHODS[method], *opts]), "test")
    check_cfg(cfg)
    teacher_cfg = cfg.clone()
    teacher_cfg.TASK, teacher_cfg.TRANSM3E.RECEIVERS, teacher_cfg.DATA.MODALITY = "classify", False, "rgb_diff"
    teacher_cfg.MODEL.MODEL_NAME = TEACHER_OF.get(method, "TransM3E")
    # Other tokens than the student's, or there is nothing to learn at the patch embedding.
    teacher_cfg.RNG_SEED = 3
    check_teacher(cfg, teacher_cfg, "teacher.pyth")
    return cfg, teacher_cfg


def learning(task):
    """Names of the student's parameters that a step gives a gradient."""
    task.train()
    task(make_batch())["loss"].backward()
    found = {name for name, p in task.model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    return {name for name in found if not TRULY_ZERO.search(name)}


class Recorder(nn.Module):
    """A teacher whose tokens are the mean of its clip, so that what it saw can be read from them."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def forward(self, clips):
        x = clips["rgb_diff"]
        self.calls.append(len(x))
        return ModelOutput(torch.zeros(len(x), 20), mcts=[x.mean((1, 2, 3, 4))[:, None, None].expand(-1, 20, 8)])


def sent_by_the_teacher(task, batch):
    """What the teacher's side of a step hands to the distiller."""
    sent = []
    task.distiller = lambda student, teacher: sent.append(teacher) or {"loss_none": torch.zeros(())}
    task(batch)
    return sent[0].mcts


@pytest.mark.parametrize(
    ("case", "expected"), [(1, [0, 1, 2, 3]), (2, [1, 0, 3, 2]), (3, [1, None, 3, None]), (4, [None] * 4)]
)
@pytest.mark.parametrize("drop_path", [False, True])
def test_the_teacher_sees_the_clips_of_the_case(student_cfg, case, expected, drop_path):
    task = make_task(student_cfg, case, Recorder(), drop_path)
    batch = make_batch()
    diffs = task.teacher_inputs(batch.clips)["rgb_diff"].mean((1, 2, 3, 4))
    sent = sent_by_the_teacher(task, batch)[0][:, 0, 0]
    assert sent.tolist() == pytest.approx([0.0 if i is None else diffs[i].item() for i in expected])


def test_the_clip_of_zeros_is_run_once(student_cfg):
    task = make_task(student_cfg, 4, Recorder())
    for _ in range(3):
        sent_by_the_teacher(task, make_batch())
    assert task.teacher.calls == [1]


def test_rows_are_picked_of_every_field():
    def output(rows, first):
        numbers = torch.arange(first, first + rows, dtype=torch.float32)[:, None]
        return ModelOutput(numbers, [numbers + 10], [numbers + 20], numbers + 30, None)

    picked = _pick([0, 2, 0, 1], output(1, 0), output(2, 1))
    assert picked.logits[:, 0].tolist() == [0, 2, 0, 1]
    assert [each[0][:, 0].tolist() for each in (picked.mcts, picked.receivers)] == [[10, 12, 10, 11], [20, 22, 20, 21]]
    assert picked.class_logits[:, 0].tolist() == [30, 32, 30, 31]
    assert picked.distill_logits is None


def test_a_drop_path_left_active_draws_anew_for_every_clip_and_step(student_cfg):
    student_cfg.MVIT.DROPPATH_RATE = 0.5
    silent, active = make_task(student_cfg, 4), make_task(student_cfg, 4, teacher_drop_path=True)
    before = {name: value.clone() for name, value in active.teacher.state_dict().items()}
    batch = make_batch(videos=8)
    torch.manual_seed(0)
    for task, differ in ((silent, False), (active, True)):
        task.train()
        one, two = (sent_by_the_teacher(task, batch)[-1] for _ in range(2))
        # All clips are zeros, so only what is dropped can make them differ.
        assert bool((one - one[:1]).abs().max() > 1e-3) == differ
        assert bool((one - two).abs().max() > 1e-3) == differ
    training = {type(module).__name__ for module in active.teacher.modules() if module.training}
    assert training == {"DropPath"}
    active.distiller = build_distiller(student_cfg)
    active(batch)["loss"].backward()
    assert all(p.grad is None and not p.requires_grad for p in active.teacher.parameters())
    assert all(torch.equal(value, before[name]) for name, value in active.teacher.state_dict().items())


def test_loss_is_classification_plus_weighted_distillation(student_cfg):
    task = make_task(student_cfg)
    task.weight = 0.25
    out = task(make_batch())
    assert out["loss"].item() == pytest.approx(out["loss_class"].item() + 0.25 * out["loss_mctkd"].item())
    assert out["logits"].shape == (4, 20)


def test_gradients_reach_the_student_and_never_the_teacher(student_cfg):
    student_cfg.DISTILL.ALPHA = 100.0
    task = make_task(student_cfg)
    before = {name: value.clone() for name, value in task.teacher.state_dict().items()}
    task.train()
    optimizer = torch.optim.AdamW(task.model.parameters(), lr=1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        task(make_batch())["loss"].backward()
        optimizer.step()
    assert not any(module.training for module in task.teacher.modules())
    assert all(p.grad is None and not p.requires_grad for p in task.teacher.parameters())
    assert all(torch.equal(value, before[name]) for name, value in task.teacher.state_dict().items())
    assert task.model.receivers.grad.abs().max() > 0


def test_receivers_come_closer_to_the_senders(student_cfg):
    student_cfg.MVIT.DROPPATH_RATE = student_cfg.MCTF.DROPPATH_RATE = 0.0
    task = make_task(student_cfg, pair_case=1)
    task.loss = LOSSES["bce_logits"]
    optimizer = torch.optim.AdamW(task.model.parameters(), lr=3e-3)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        out = task(make_batch())
        out["loss_mctkd"].backward()
        optimizer.step()
        losses.append(out["loss_mctkd"].item())
    assert losses[-1] < 0.5 * losses[0]


def test_prediction_needs_no_teacher(student_cfg):
    task = make_task(student_cfg, teacher=Recorder())
    scores = task.predict(make_batch())
    assert task.teacher.calls == []
    assert scores.shape == (4, 20)
    assert torch.allclose(scores.sum(1), torch.ones(4))
    plain = Classify(task.model, task.loss, task.inputs)
    assert torch.equal(plain.predict(make_batch()), scores)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("position", ["sparse", "patch_embed"])
def test_a_step_of_every_method_teaches_every_parameter(student_cfg, method, position):
    opts = ["DISTILL.POSITION", position] if method in ("mctkd", "kd") else []
    cfg, teacher_cfg = method_cfgs(student_cfg, method, *opts)
    task = build_distill(cfg, build_model(cfg), build_model(teacher_cfg))
    names = {name for name, _ in task.model.named_parameters() if not TRULY_ZERO.search(name)}
    assert learning(task) == names
    out = task(make_batch())
    weighted = cfg.DISTILL.CLASS_WEIGHT * out["loss_class"] + cfg.DISTILL.WEIGHT * out[f"loss_{method}"]
    assert out["loss"].item() == pytest.approx(weighted.item(), rel=1e-6)
    assert out[f"loss_{method}"] > 0


@pytest.mark.parametrize(
    ("method", "position", "silent"),
    [
        # Tokens are compared before the last norm.
        ("mctkd", "final", r"^head\.|^backbone\.norm\."),
        ("kd", "final", r"^head\.|^backbone\.norm\."),
        ("mctkd", "patch_embed", r"^(?!receivers$)"),
        ("kd", "patch_embed", r"^(?!mcts$)"),
        ("logits", "dense", "^$"),
        ("deit", "dense", r"^head\."),
    ],
)
def test_what_the_teacher_alone_teaches(student_cfg, method, position, silent):
    opts = ["DISTILL.CLASS_WEIGHT", 0.0, "DISTILL.POSITION", position, "DISTILL.AXIS", "channel"]
    cfg, teacher_cfg = method_cfgs(student_cfg, method, *opts)
    task = build_distill(cfg, build_model(cfg), build_model(teacher_cfg))
    names = {name for name, _ in task.model.named_parameters() if not TRULY_ZERO.search(name)}
    assert learning(task) == {name for name in names if not re.search(silent, name)}


def test_tokens_at_the_patch_embedding_are_the_same_for_all_clips(student_cfg):
    task = make_task(student_cfg, pair_case=1)
    seen = []
    task.distiller = lambda student, teacher: seen.append((student, teacher)) or {"loss_none": torch.zeros(())}
    task(make_batch())
    [(student, teacher)] = seen
    for tokens, own in (
        (student.receivers, task.model.receivers),
        (student.mcts, task.model.mcts),
        (teacher.mcts, task.teacher.mcts),
    ):
        assert torch.equal(tokens[0], own.expand(4, -1, -1))
        assert not torch.equal(tokens[1][0], tokens[1][1])


def test_labels_teach_the_class_head_and_both_heads_predict(student_cfg):
    cfg, teacher_cfg = method_cfgs(student_cfg, "deit")
    task = build_distill(cfg, build_model(cfg), build_model(teacher_cfg))
    task.weight = 0.0
    torch.nn.init.normal_(task.model.head.weight)
    batch = make_batch()
    task.model.eval()
    student = task.model(task.inputs(batch.clips))
    out = task(batch)
    assert out["loss"].item() == pytest.approx(0.5 * task.loss(student.class_logits, batch.labels).item(), rel=1e-6)
    mean = (student.class_logits.softmax(1) + student.distill_logits.softmax(1)) / 2
    torch.testing.assert_close(task.predict(batch), mean.detach())


def save(cfg, path):
    torch.save({"model_state": build_model(cfg).state_dict(), "cfg": cfg.dump()}, path)
    return str(path)


def test_deit_starts_from_mvit_with_a_teacher_of_another_model(student_cfg, tmp_path):
    cfg, teacher_cfg = method_cfgs(student_cfg, "deit")
    cfg.DISTILL.MODALITY, cfg.DATA.MODALITY = "rgb", "rgb_diff"
    teacher_cfg.MODEL.MODEL_NAME, teacher_cfg.MODEL.ARCH, teacher_cfg.DATA.MODALITY = "ResNet", "slow", "rgb"
    teacher_cfg.RESNET.WIDTH_PER_GROUP = 8
    cfg.INIT.TEACHER_FROM = save(teacher_cfg, tmp_path / "teacher.pyth")
    start = cfg.clone()
    start.TASK, start.MODEL.MODEL_NAME, start.RNG_SEED = "classify", "MViT", 5
    cfg.INIT.STUDENT_FROM = save(start, tmp_path / "start.pyth")
    task = build_task(cfg, torch.device("cpu"))
    assert torch.equal(task.model.head.weight, build_model(start).head.weight)
    assert torch.isfinite(task(make_batch())["loss"])
    assert not any(module.training for module in task.teacher.modules())


def trained(task, seeds):
    """A task after steps on batches of these seeds."""
    optimizer = torch.optim.SGD(task.model.parameters(), lr=0.1)
    for seed in seeds:
        torch.manual_seed(seed)
        batch = make_batch()
        batch.clips["rgb"] = torch.randint(0, 256, batch.clips["rgb"].shape, dtype=torch.uint8)
        task(batch)["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
    return task


def test_a_centre_that_is_saved_goes_on_to_the_bit(student_cfg):
    cfg, teacher_cfg = method_cfgs(student_cfg, "mctkd", "DISTILL.CENTRE", True, "DISTILL.WEIGHT", 1e4)
    whole, cut = (build_distill(cfg, build_model(cfg), build_model(teacher_cfg)) for _ in range(2))
    trained(whole, range(4))
    half = trained(cut, range(2))
    rest = build_distill(cfg, half.model, build_model(teacher_cfg))
    rest.load_state({name: value.clone() for name, value in half.state().items()})
    trained(rest, range(2, 4))
    assert rest.state().keys() == {"count", "mean"}
    for name, value in whole.state().items():
        assert torch.equal(rest.state()[name], value)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(rest.model.state_dict()[name], value), name
    without = build_distill(cfg, half.model, build_model(teacher_cfg))
    with pytest.raises(ValueError, match="does not fit"):
        without.load_state({})


def test_without_a_centre_nothing_is_saved_and_the_senders_are_the_teachers(student_cfg):
    task = make_task(student_cfg, 1)
    batch = make_batch()
    output = task.teacher(task.teacher_inputs(batch.clips))
    assert task.state() == {}
    assert all(torch.equal(a, b) for a, b in zip(sent_by_the_teacher(task, batch), output.mcts, strict=True))


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("mctkd", ("DISTILL.POSITION", "patch_embed"), "DISTILL.CENTRE makes"),
        ("mctkd", ("DISTILL.PAIR_CASE", 4), "DISTILL.CENTRE makes"),
        ("logits", (), "METHOD logits compares logits; set CENTRE False"),
    ],
)
def test_a_centre_without_effect_is_refused(student_cfg, method, options, message):
    with pytest.raises(UserError, match=message):
        method_cfgs(student_cfg, method, "DISTILL.CENTRE", True, *options)
