"""The candidates of a command line, and how each is built."""

from __future__ import annotations

import pytest
import torch

from transm3e.benchmark.candidate import Entry, build_candidate, build_entries
from transm3e.benchmark.references import REFERENCES
from transm3e.errors import UserError
from transm3e.tasks import Classify, Distill

CPU = torch.device("cpu")


@pytest.fixture
def full_size(tmp_path):
    """MViTv2-S: the defaults."""
    path = tmp_path / "mvitv2_s.yaml"
    path.write_text("MODEL: {MODEL_NAME: MViT}\n")
    return str(path)


def test_the_reference_of_mvit_v2_s_is_torchvisions(full_size, tiny_file):
    entries, reference = build_entries([str(tiny_file), full_size], None, [])
    assert [entry.name for entry in entries] == ["tiny", "mvitv2_s", "torchvision:mvit_v2_s"]
    assert reference == "torchvision:mvit_v2_s"
    assert entries[-1].lead == full_size


@pytest.mark.parametrize("against", [None, "none"])
def test_alone(tiny_file, against):
    entries, reference = build_entries([str(tiny_file)], against, [])
    assert (len(entries), reference) == (1, None)


def test_the_same_config_against_itself(tiny_file):
    entries, reference = build_entries([str(tiny_file)], str(tiny_file), ["RNG_SEED", "1"])
    assert [entry.name for entry in entries] == ["tiny", "tiny (2)"]
    assert reference == "tiny (2)"
    assert entries[1].opts == ("RNG_SEED", "1")


def test_unknown_reference(tiny_file):
    with pytest.raises(UserError, match=r"--against is 'torchvision:mvit_v2'.*did you mean.*pytorchvideo:c2d_r50"):
        build_entries([str(tiny_file)], "torchvision:mvit_v2", [])


def test_a_reference_of_another_clip_size(tiny_file):
    with pytest.raises(UserError, match="takes clips of 16x224x224 only, the config's are 4x32x32"):
        build_entries([str(tiny_file)], "torchvision:mvit_v2_s", [])


def test_a_model_without_weights(tiny_file):
    opts = ("MODEL.MODEL_NAME", "Random", "TRAIN.ENABLE", "False")
    with pytest.raises(UserError, match=r"MODEL\.MODEL_NAME Random has no weights"):
        build_candidate(Entry("random", str(tiny_file), str(tiny_file), opts), CPU)


# Parameters with 20 classes, as pytorchvideo's own model zoo has them; clips that its pooling still divides.
@pytest.mark.parametrize(
    ("name", "frames", "parameters"),
    [
        ("c2d_r50", 4, 23_549_012),
        ("i3d_r50", 4, 27_264_852),
        ("slow_r50", 2, 31_675_476),
        ("slowfast_r50", 8, 33_690_588),
    ],
)
def test_pytorchvideos_models(tiny_file, name, frames, parameters):
    opts = ["DATA.NUM_FRAMES", str(frames), "SOLVER.OPTIMIZING_METHOD", "sgd", "MODEL.LOSS_FUNC", "bce_logits"]
    entries, reference = build_entries([str(tiny_file)], f"pytorchvideo:{name}", opts)
    candidate = build_candidate(entries[1], CPU)
    model = candidate.task.model.eval()
    assert sum(p.numel() for p in model.parameters()) == parameters
    with torch.no_grad():
        logits = model(candidate.task.inputs(candidate.batch(2, CPU).clips)).logits
    assert logits.shape == (2, 20)
    # The same work as ours: its optimiser and its loss.
    ours = build_candidate(entries[0], CPU)
    assert type(candidate.optimizer) is type(ours.optimizer) is torch.optim.SGD
    assert candidate.task.loss is ours.task.loss
    assert reference == f"pytorchvideo:{name}"


def test_torchvisions_video_models_are_all_there():
    assert {"torchvision:swin3d_s", "torchvision:mvit_v2_s", "torchvision:r3d_18"} <= set(REFERENCES)


def test_distillation_has_a_frozen_teacher_that_was_never_trained(student_file):
    (entry,), _ = build_entries([str(student_file)], None, [])
    candidate = build_candidate(entry, CPU)
    assert isinstance(candidate.task, Distill)
    assert candidate.task.teacher.modality == "rgb_diff"
    assert not any(p.requires_grad for p in candidate.task.teacher.parameters())
    assert candidate.samples == 2
    alone = build_candidate(entry, CPU, with_teacher=False)
    assert type(alone.task) is Classify
    assert alone.samples == 1


def test_the_distillation_is_the_one_that_is_trained(student_file):
    opts = ("DISTILL.TEACHER_DROP_PATH", "True", "DISTILL.WEIGHT", "0.5")
    task = build_candidate(Entry("student", str(student_file), str(student_file), opts), CPU).task
    assert (task.teacher_drop_path, task.weight) == (True, 0.5)


@pytest.mark.parametrize("compiled", [True, False])
def test_compile_of_a_config_compiles_its_step_as_one_graph(student_file, monkeypatch, compiled):
    seen = []
    monkeypatch.setattr(torch, "compile", lambda step, **options: (seen.append(options), step)[1])
    opts = ["TRAIN.COMPILE", str(compiled)]
    entries, _ = build_entries([str(student_file)], "pytorchvideo:c2d_r50", opts)
    ours, theirs = (build_candidate(entry, CPU) for entry in entries)
    assert seen == ([{"fullgraph": True}] if compiled else [])
    assert (ours.compiled, theirs.compiled) == (compiled, False)


def test_reset_forgets_gradients_and_the_optimiser(tiny_file):
    (entry,), _ = build_entries([str(tiny_file)], None, [])
    candidate = build_candidate(entry, CPU)
    weight, before = candidate.task.model.mcts, candidate.optimizer
    weight.grad = torch.ones_like(weight)
    candidate.reset()
    assert weight.grad is None
    assert candidate.optimizer is not before


def test_a_teacher_given_as_a_checkpoint_is_built_like_the_student(student_file):
    opts = ("INIT.TEACHER_FROM", "somewhere.pyth")
    candidate = build_candidate(Entry("student", str(student_file), str(student_file), opts), CPU)
    teacher = candidate.task.teacher
    assert (teacher.modality, teacher.receivers) == ("rgb_diff", None)


def test_batches_are_whole_videos_and_always_the_same(student_file):
    (entry,), _ = build_entries([str(student_file)], None, [])
    candidate = build_candidate(entry, CPU)
    batch, again = candidate.batch(4, CPU), candidate.batch(4, CPU)
    assert batch.clips["rgb"].shape == (4, 3, 4, 32, 32)
    assert batch.clips["rgb"].dtype == torch.uint8
    assert batch.rows.tolist() == [0, 0, 1, 1]
    assert batch.views.tolist() == [0, 1, 0, 1]
    assert batch.samples == 2
    assert torch.equal(batch.clips["rgb"], again.clips["rgb"])
