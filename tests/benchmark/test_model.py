"""All candidates through all modes and batch sizes; the process that measures memory is replaced."""

from __future__ import annotations

import pytest
import torch

from transm3e.benchmark import model
from transm3e.benchmark.candidate import build_entries
from transm3e.benchmark.memory import Peak
from transm3e.benchmark.model import Settings, measure
from transm3e.benchmark.results import faster
from transm3e.errors import UserError

QUICK = {"device": "cpu", "repeats": 1, "warmup": 1, "threads": 1}


@pytest.fixture
def asked(monkeypatch):
    """Requests made; those for more than 4 clips do not fit."""
    requests = []

    def peak(request):
        requests.append(request)
        return Peak(request.batch_size * 2**20, "fake") if request.batch_size <= 4 else None

    monkeypatch.setattr(model, "cpu_peak", peak)
    monkeypatch.setattr(model, "matrix_rate", lambda device, dtype: 1e9)
    return requests


def run(paths, against=None, **settings):
    entries, reference = build_entries([str(path) for path in paths], against, [])
    return measure(entries, reference, Settings(**{**QUICK, **settings}), ["command"])


def rows(results):
    return [(one.name, one.mode, one.clips, len(one.seconds)) for one in results.measurements]


def test_distillation_beside_stage_1(asked, student_file, tiny_file):
    results = run([student_file], str(tiny_file))
    # The fewest clips that the student's training takes are those of one video.
    assert rows(results) == [(name, mode, 2, 1) for mode in ("forward", "train") for name in ("student", "tiny")]
    student, tiny = results.candidates
    assert student.parameters.teacher == tiny.parameters.inference
    assert student.parameters.inference > tiny.parameters.inference
    assert student.work.macs > tiny.work.macs
    assert faster(results.measurements[0], results.measurements[1]) > 0
    assert {(request.threads, request.precision) for request in asked} == {(1, "float32")}
    assert all(request.limit > 0 for request in asked)


def test_inference_alone_builds_no_teacher_and_takes_one_clip(asked, student_file):
    results = run([student_file], modes=("forward",))
    assert rows(results) == [("student", "forward", 1, 1)]
    assert results.candidates[0].parameters.teacher == 0


def test_growing_ends_when_out_of_memory(asked, tiny_file):
    results = run([tiny_file], grow=True, modes=("forward",), memory_limit=1.5)
    assert rows(results) == [("tiny", "forward", size, 1) for size in (1, 2, 4)] + [("tiny", "forward", 8, 0)]
    assert results.measurements[-1].peak is None
    assert asked[0].limit == round(1.5 * 2**30)


def failing_at(size, message):
    """Training steps that raise from a batch size on."""

    def build(candidate, batch, precision):
        def call():
            candidate.optimizer  # noqa: B018 (built by now)
            if len(batch.labels) >= size:
                raise RuntimeError(message)

        return call

    return build


def test_growing_ends_where_a_library_cannot_allocate(asked, tiny_file, monkeypatch, capsys):
    monkeypatch.setattr(model, "training_call", failing_at(2, "cuDNN error: CUDNN_STATUS_ALLOC_FAILED\nand more"))
    kept = []
    entries, _ = build_entries([str(tiny_file)], None, [])
    settings = Settings(**QUICK, grow=True, modes=("train",))
    results = measure(entries, None, settings, [], keep=lambda so_far: kept.append(rows(so_far)))
    assert rows(results) == [("tiny", "train", 1, 1), ("tiny", "train", 2, 0)]
    # Everything so far, after each batch size.
    assert kept == [rows(results)[:1], rows(results)]
    assert (
        "note: tiny (train, batch 2) does not fit: cuDNN error: CUDNN_STATUS_ALLOC_FAILED\n" in capsys.readouterr().err
    )


def test_other_errors_end_the_run_but_what_was_measured_is_kept(asked, tiny_file, monkeypatch):
    monkeypatch.setattr(model, "training_call", failing_at(2, "shapes cannot be multiplied"))
    kept = []
    entries, _ = build_entries([str(tiny_file)], None, [])
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        measure(entries, None, Settings(**QUICK, grow=True, modes=("train",)), [], keep=lambda r: kept.append(rows(r)))
    assert kept == [[("tiny", "train", 1, 1)]]


def test_an_interrupted_step_leaves_a_fresh_scaler_and_optimiser(asked, tiny_file, monkeypatch):
    seen = []
    build = failing_at(2, "out of memory")

    def spy(candidate, batch, precision):
        seen.append((precision, candidate.optimizer))
        return build(candidate, batch, precision)

    monkeypatch.setattr(model, "training_call", spy)
    run([tiny_file], batch_sizes=(2, 1), modes=("train",))
    (broken, first), (fresh, second) = seen
    assert broken is not fresh
    assert first is not second


def test_every_candidate_scales_its_own_gradients(asked, tiny_file, monkeypatch):
    seen = {}

    def spy(candidate, batch, precision):
        seen.setdefault(candidate.name, set()).add(id(precision.scaler))
        return lambda: None

    monkeypatch.setattr(model, "training_call", spy)
    run([tiny_file], str(tiny_file), batch_sizes=(1, 2), modes=("train",))
    assert [len(scalers) for scalers in seen.values()] == [1, 1]
    assert not set.intersection(*seen.values())


def test_no_memory_left_is_a_limit_not_none(asked, tiny_file, monkeypatch):
    monkeypatch.setattr(model, "available_memory", lambda: 0)
    run([tiny_file], modes=("forward",))
    assert asked[0].limit == 1


def test_what_did_not_fit_is_not_tried_with_more(asked, tiny_file):
    run([tiny_file], batch_sizes=(8, 16), modes=("forward",))
    assert [request.batch_size for request in asked] == [8]


def test_half_a_video(asked, student_file):
    with pytest.raises(UserError, match=r"--batch-sizes 3: a training step of student takes 2 clips.*multiples of 2"):
        run([student_file], batch_sizes=(2, 3))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_no_gpu(asked, tiny_file):
    with pytest.raises(UserError, match="--device cuda, but torch sees no GPU; use --device cpu"):
        run([tiny_file], device="cuda")


def test_fp16_needs_a_gpu(asked, tiny_file):
    with pytest.raises(UserError, match="--precision fp16 is for GPUs"):
        run([tiny_file], precision="fp16")
