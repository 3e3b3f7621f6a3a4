"""The training loop on a task small enough to compute by hand: 12 clips, one linear layer, with dropout."""

import copy
import csv
import json
import os
import re
import signal
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from transm3e.data.types import Batch, FailedClip
from transm3e.engine import train as training
from transm3e.engine.ahead import Ahead
from transm3e.engine.checkpoint import BEST, CheckpointStore
from transm3e.engine.logging import log_to
from transm3e.engine.optim import Schedule
from transm3e.engine.precision import Precision
from transm3e.engine.resume import Progress
from transm3e.engine.settings import TrainSettings
from transm3e.engine.train import Trainer
from transm3e.errors import ExitRequest, UserError
from transm3e.models.weights import read_checkpoint
from transm3e.tasks.fine_tuning import freeze

CPU = torch.device("cpu")
CLIPS = 12


class FakeLoader:
    """Batches of a fixed permutation per epoch; `before(epoch, step)` is called as each batch is asked for."""

    def __init__(self, batch_size=2, before=None, failed=()):
        self.batch_size, self.before, self.failed = batch_size, before, list(failed)
        generator = torch.Generator().manual_seed(0)
        self.pixels = torch.randint(0, 256, (CLIPS, 1, 1, 2, 2), generator=generator, dtype=torch.uint8)
        self.labels = (torch.rand(CLIPS, 20, generator=generator) < 0.4).float()

    def __len__(self):
        return CLIPS // self.batch_size

    def epoch(self, epoch, start_step=0):
        order = torch.randperm(CLIPS, generator=torch.Generator().manual_seed(100 + epoch))
        for step in range(start_step, len(self)):
            if self.before:
                self.before(epoch, step)
            rows = order[step * self.batch_size : (step + 1) * self.batch_size]
            paths = [f"clip{row}.mp4" for row in rows]
            views = torch.zeros_like(rows)
            yield Batch({"rgb": self.pixels[rows]}, self.labels[rows], rows, views, paths, self.failed)


class FakeTask:
    """Mean binary cross entropy of a linear layer on four pixels; `spoil(batch, loss)` may change the loss."""

    def __init__(self, dropout=0.5, spoil=None):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.model = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(4, 20))
        self.replica, self.spoil = self.model, spoil
        self.target, self.activities = "muscles", None
        self.seen = torch.zeros(())

    def __call__(self, batch):
        self.seen = self.seen / 3 + batch.rows.sum()
        logits = self.model(batch.clips["rgb"] / 255)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, batch.labels)
        loss = self.spoil(batch, loss) if self.spoil else loss
        return {"loss": loss, "loss_class": loss.detach() * 2, "logits": logits}

    def train(self):
        self.model.train()

    def state(self):
        return {"seen": self.seen}

    def load_state(self, state):
        self.seen = state["seen"]


def trainer(folder, task=None, loader=None, optimizer="adamw", validate=dict, precision=None, **changes):
    task = task or FakeTask()
    parameters = task.model.parameters()
    schedule = Schedule("cosine", 0.1, 0.0, 3, 1.0, 0.01, True)
    plain = {"max_epoch": 3, "clip_norm": 1.0, "log_period": 2, "memory_settings": {"TRAIN.BATCH_SIZE": 2}}
    return Trainer(
        task,
        loader or FakeLoader(),
        validate,
        torch.optim.AdamW(parameters) if optimizer == "adamw" else torch.optim.SGD(parameters, lr=0.1),
        precision or Precision(CPU, torch.float32),
        TrainSettings(folder, schedule, **{**plain, **changes}),
        origin={"cfg": "A: 1", "run": {"id": "x"}},
    )


def names(folder):
    return sorted(file.name for file in (folder / "checkpoints").iterdir())


def last_state(folder):
    return read_checkpoint(CheckpointStore(folder, 1).newest())


def assert_same(a, b):
    """Equal to the last bit, tensors and plain values alike."""
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b


def interrupt_at(epoch, step, number=signal.SIGINT):
    return lambda e, s: os.kill(os.getpid(), number) if (e, s) == (epoch, step) else None


def test_training_learns_and_its_checkpoint_tells_everything(tmp_path):
    trainer(tmp_path, FakeTask(dropout=0.0)).run()
    state = last_state(tmp_path)
    assert set(state) == {
        "model_state",
        "optimizer_state",
        "scaler_state",
        "epoch",
        "progress",
        "activities",
        "task_state",
        "cfg",
        "run",
    }
    assert (state["epoch"], state["cfg"], state["run"]) == (2, "A: 1", {"id": "x"})
    history = state["progress"]["history"]
    assert [entry["epoch"] for entry in history] == [1, 2, 3]
    assert history[0]["loss"] > history[1]["loss"] > history[2]["loss"]


def test_one_step_is_what_the_optimiser_does_by_hand(tmp_path):
    task, loader = FakeTask(dropout=0.0), FakeLoader(batch_size=CLIPS)
    mine = copy.deepcopy(task)
    trainer(tmp_path, task, loader, "sgd", max_epoch=1, clip_norm=0.01).run()
    sgd = torch.optim.SGD(mine.model.parameters(), lr=0.01)
    mine(next(loader.epoch(0)))["loss"].backward()
    nn.utils.clip_grad_norm_(mine.model.parameters(), 0.01)
    sgd.step()
    assert_same(task.model.state_dict(), mine.model.state_dict())


@pytest.mark.parametrize(("batch_size", "accum_steps"), [(2, 6), (3, 4), (6, 2), (4, 3)])
def test_accumulated_gradients_equal_one_big_batch(tmp_path, batch_size, accum_steps):
    whole, parts = FakeTask(dropout=0.0), FakeTask(dropout=0.0)
    trainer(tmp_path / "a", whole, FakeLoader(CLIPS), "sgd").run()
    trainer(tmp_path / "b", parts, FakeLoader(batch_size), "sgd", accum_steps=accum_steps).run()
    for a, b in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    losses = [[e["loss"] for e in last_state(tmp_path / run)["progress"]["history"]] for run in "ab"]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_more_accumulation_than_batches_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"an epoch has 6 batches, fewer than TRAIN\.ACCUM_STEPS 7"):
        trainer(tmp_path, accum_steps=7)


@pytest.mark.parametrize("place", [(0, 0), (0, 3), (0, 5), (1, 0), (2, 4), (2, 5)])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_interrupted_at_any_step_ends_bit_for_bit_as_the_uninterrupted(tmp_path, place, number):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    trainer(whole).run()
    with pytest.raises(ExitRequest) as caught:
        trainer(cut, loader=FakeLoader(before=interrupt_at(*place, number))).run()
    assert caught.value.exit_status == 128 + number
    assert f"stopped in epoch {place[0] + 1} after step {place[1] + 1};" in str(caught.value)
    assert (
        CheckpointStore(cut, 1).newest().name == f"checkpoint_epoch_0000{place[0] + 1}_step_000000{place[1] + 1}.pyth"
    )
    torch.rand(7)
    trainer(cut).run()
    assert_same(last_state(cut), last_state(whole))
    assert names(cut) == names(whole) == ["checkpoint_epoch_00002.pyth", "checkpoint_epoch_00003.pyth"]


def test_with_batches_loaded_ahead_a_run_is_the_same_and_none_is_loaded_in_vain(tmp_path, monkeypatch):
    asked = []

    def interrupt(epoch, step):
        asked.append((epoch, step))
        interrupt_at(1, 3)(epoch, step)

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    trainer(whole, accum_steps=2).run()
    monkeypatch.setattr(training, "Ahead", partial(Ahead, on=True))
    with pytest.raises(ExitRequest):
        trainer(cut, loader=FakeLoader(before=interrupt), accum_steps=2).run()
    assert asked == [*((0, step) for step in range(6)), *((1, step) for step in range(4))]
    trainer(cut, accum_steps=2).run()
    assert_same(last_state(cut), last_state(whole))
    asked.clear()
    trainer(tmp_path / "rest", loader=FakeLoader(before=lambda *at: asked.append(at)), accum_steps=4, max_epoch=2).run()
    assert asked == [(epoch, step) for epoch in range(2) for step in range(4)]


def test_interruptions_add_up_with_accumulation_and_fp16_scaler(tmp_path):
    def fp16(folder, loader=None):
        return trainer(folder, loader=loader, accum_steps=3, precision=Precision(CPU, torch.float16))

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    fp16(whole).run()
    for place in ((0, 4), (1, 2), (2, 1)):
        with pytest.raises(ExitRequest):
            fp16(cut, FakeLoader(before=interrupt_at(*place))).run()
    fp16(cut).run()
    assert_same(last_state(cut), last_state(whole))
    assert last_state(whole)["scaler_state"]["scale"] > 0


def test_a_crash_costs_no_more_than_the_steps_since_the_last_checkpoint(tmp_path):
    def crash(epoch, step):
        if (epoch, step) == (1, 5):
            raise ZeroDivisionError

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    trainer(whole).run()
    with pytest.raises(ZeroDivisionError):
        trainer(cut, loader=FakeLoader(before=crash), checkpoint_steps=2).run()
    assert CheckpointStore(cut, 1).newest().name == "checkpoint_epoch_00002_step_0000004.pyth"
    trainer(cut, checkpoint_steps=2).run()
    assert_same(last_state(cut), last_state(whole))


def test_without_resume_no_checkpoint_is_overwritten(tmp_path):
    trainer(tmp_path, max_epoch=1).run()
    asked = []
    trainer(tmp_path, loader=FakeLoader(before=lambda *place: asked.append(place)), max_epoch=1).run()
    assert asked == []
    with pytest.raises(UserError, match=r"TRAIN.AUTO_RESUME is False, but .*checkpoints holds checkpoints"):
        trainer(tmp_path, max_epoch=1, resume=False).run()


def test_a_checkpoint_of_another_model_or_program_is_refused(tmp_path):
    trainer(tmp_path, max_epoch=1).run()
    other = FakeTask()
    other.model = nn.Sequential(nn.Flatten(), nn.Linear(4, 21))
    with pytest.raises(UserError, match=r"checkpoint_epoch_00001\.pyth belongs to another model"):
        trainer(tmp_path, other).run()
    CheckpointStore(tmp_path, 1).save({"model_state": {}, "epoch": 4}, 5)
    with pytest.raises(UserError, match=r"checkpoint_epoch_00005\.pyth was not written by this training loop"):
        trainer(tmp_path).run()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_names_the_clips_and_keeps_the_checkpoint(tmp_path, value):
    def spoil(batch, loss):
        return loss * value if 7 in batch.rows else loss

    trainer(tmp_path, max_epoch=1).run()
    before = last_state(tmp_path)
    with pytest.raises(UserError) as caught:
        trainer(tmp_path, FakeTask(spoil=spoil)).run()
    message = str(caught.value)
    assert re.match(rf"the loss is {value} in epoch 2, step \d, with the clips clip\d+\.mp4, clip\d+\.mp4; ", message)
    assert "clip7.mp4" in message
    assert "checkpoint_epoch_00001.pyth" in message
    saved = torch.load(tmp_path / "bad_batch_rank_0.pt", weights_only=True)
    (batch,) = saved["batches"]
    assert "clip7.mp4" in batch["paths"]
    assert torch.equal(batch["clips"]["rgb"], FakeLoader().pixels[batch["rows"]])
    assert_same(last_state(tmp_path), before)
    assert f"replayed by python tools/show_batch.py --bad {tmp_path / 'bad_batch_rank_0.pt'};" in message
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "bad_batch_rank_0.pt",
        "bad_weights.pyth",
        "checkpoints",
    ]


def test_weights_of_a_bad_step_are_those_that_computed_it_and_nothing_resumes_from_them(tmp_path):
    def nan_at(row):
        task = FakeTask(spoil=lambda batch, loss: loss * (float("nan") if row in batch.rows else 1))
        with pytest.raises(UserError, match="the loss is nan"):
            trainer(tmp_path, task).run()
        return task

    (tmp_path / "bad_batch_rank_1.pt").write_text("of an earlier failure, with more processes")
    task = nan_at(7)
    bad = read_checkpoint(tmp_path / "bad_weights.pyth")
    assert_same(bad["model_state"], dict(task.model.state_dict()))
    assert bad["optimizer_state"]["param_groups"][0]["lr"] > 0
    assert not (tmp_path / "bad_batch_rank_1.pt").exists()
    # It lies where resume does not look, and is refused where a user puts it there.
    assert CheckpointStore(tmp_path, 1).newest() is None
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "bad_weights.pyth").rename(tmp_path / "checkpoints" / "checkpoint_epoch_00001.pyth")
    with pytest.raises(UserError, match="was not written by this training loop"):
        trainer(tmp_path).run()


def test_a_bad_step_on_a_full_disk_is_still_named(tmp_path, monkeypatch):
    def no_space(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(UserError, match=r"the loss is nan .*\(not saved, cannot write .*No space left on device"):
        trainer(tmp_path, FakeTask(spoil=lambda _batch, loss: loss * float("nan"))).run()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:.*[Aa]nomaly:UserWarning", "ignore:Error detected in:UserWarning")
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda task: lambda _, loss: loss + (task.model[2].bias.sum() * 0).sqrt(),
            r"gradient \(Function 'MulBackward0'",
        ),
        (lambda task: lambda _, loss: loss * float("nan"), r"loss \(the forward pass"),
    ],
)
def test_detect_anomaly_ends_at_the_function_that_gives_nan_and_saves_the_step(tmp_path, spoil, message):
    task = FakeTask()
    task.spoil = spoil(task)
    with pytest.raises(
        UserError, match=rf"^the {message} returned nan values.* in epoch 1, step 1, with the clips clip"
    ):
        trainer(tmp_path, task, detect_anomaly=True).run()
    assert (tmp_path / "bad_weights.pyth").is_file()
    assert not torch.is_anomaly_enabled()


def test_a_gradient_that_is_no_number_stops_before_the_weights_change(tmp_path):
    # d sqrt(x) at 0 is infinite while the loss itself is finite.
    task = FakeTask(spoil=lambda _batch, loss: loss + (task.model[2].bias.sum() * 0).sqrt())
    before = copy.deepcopy(task.model.state_dict())
    with pytest.raises(UserError, match=r"the gradient is nan in epoch 1, step 1, .*newest checkpoint: none"):
        trainer(tmp_path, task).run()
    assert_same(task.model.state_dict(), before)


def test_best_is_the_highest_mean_and_past_epochs_go(tmp_path):
    scores = iter([{"known_val": 0.5, "new_val": 0.3}, {"known_val": 0.9, "new_val": 0.1}, {"known_val": 0.2}])
    trainer(tmp_path, validate=lambda: next(scores)).run()
    assert names(tmp_path) == [BEST, "checkpoint_epoch_00002.pyth", "checkpoint_epoch_00003.pyth"]
    best = torch.load(tmp_path / "checkpoints" / BEST, weights_only=True)
    assert best["epoch"] == 1
    assert best["progress"]["best"] == 0.5
    assert last_state(tmp_path)["progress"]["best"] == 0.5
    assert last_state(tmp_path)["progress"]["history"][0]["new_val"] == 0.3


def test_without_a_score_nothing_is_the_best(tmp_path):
    with log_to(tmp_path):
        trainer(tmp_path, validate=dict).run()
    assert BEST not in names(tmp_path)
    assert "val_epoch" not in (tmp_path / "stdout.log").read_text()


def test_the_best_is_remembered_over_an_interruption(tmp_path):
    scores = iter([{"v": 0.9}, {"v": 0.1}, {"v": 0.2}])
    with pytest.raises(ExitRequest):
        trainer(tmp_path, loader=FakeLoader(before=interrupt_at(1, 2)), validate=lambda: next(scores)).run()
    trainer(tmp_path, validate=lambda: next(scores)).run()
    assert torch.load(tmp_path / "checkpoints" / BEST, weights_only=True)["epoch"] == 0


@pytest.mark.parametrize(
    ("keep", "period", "left"), [(0, 1, [1, 2, 3, 4, 5]), (1, 1, [4, 5]), (2, 2, [2, 4, 5]), (1, 0, [5])]
)
def test_checkpoints_by_period_and_the_last_always(tmp_path, keep, period, left):
    trainer(tmp_path, keep_checkpoints=keep, checkpoint_period=period, max_epoch=5, eval_period=0).run()
    assert names(tmp_path) == [f"checkpoint_epoch_{epoch:05d}.pyth" for epoch in left]


@pytest.mark.parametrize(("period", "validated"), [(0, 0), (1, 5), (2, 3), (9, 1)])
def test_validation_by_period_and_after_the_last_epoch(tmp_path, period, validated):
    calls = []
    trainer(tmp_path, validate=lambda: calls.append(1) or {"v": 0.5}, max_epoch=5, eval_period=period).run()
    assert len(calls) == validated


def test_clips_that_failed_are_noted_once_and_saved(tmp_path):
    failed = [FailedClip(3, "broken.mp4", "truncated"), FailedClip(4, "gone.mp4", "no such file")]
    with log_to(tmp_path):
        trainer(tmp_path, loader=FakeLoader(failed=failed)).run()
    progress = last_state(tmp_path)["progress"]
    assert progress["failed"] == {"broken.mp4": "truncated", "gone.mp4": "no such file"}
    assert progress["history"][-1]["failed_clips"] == 2
    assert (tmp_path / "stdout.log").read_text().count("left out of training: broken.mp4: truncated") == 1


def test_other_activities_than_the_checkpoints_are_refused(tmp_path):
    activities = SimpleNamespace(as_plain=lambda: {"names": ["a", "b"], "muscles": None})
    task = FakeTask()
    task.activities = activities
    trainer(tmp_path, task).run()
    other = FakeTask()
    other.activities = SimpleNamespace(as_plain=lambda: {"names": ["b", "a"], "muscles": None})
    with pytest.raises(UserError, match="trained on other activities, or on these in another order"):
        trainer(tmp_path, other).run()


def test_the_log_has_pyslowfasts_lines(tmp_path):
    with log_to(tmp_path):
        trainer(tmp_path, validate=lambda: {"known_val": 0.5}).run()
    stats = [
        json.loads(line.split("json_stats: ")[1]) for line in (tmp_path / "stdout.log").open() if "json_st" in line
    ]
    iters = [entry for entry in stats if entry["_type"] == "train_iter_"]
    assert [entry["iter"] for entry in iters] == ["2/6", "4/6", "6/6"] * 3
    assert {"epoch", "dt", "dt_data", "dt_net", "eta", "loss", "loss_class", "lr", "grad_norm", "RAM"} <= set(iters[0])
    assert iters[0]["loss_class"] == pytest.approx(2 * iters[0]["loss"], abs=2e-5)
    # The rate of the second step: a sixth of the one epoch of warm-up.
    assert iters[0]["lr"] == pytest.approx(0.01 + 0.09 / 6, abs=1e-5)
    assert [entry["epoch"] for entry in stats if entry["_type"] == "train_epoch"] == ["1/3", "2/3", "3/3"]
    assert [entry["map"] for entry in stats if entry["_type"] == "val_epoch"] == [0.5] * 3


def test_a_full_disk_ends_training_and_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    trainer(tmp_path, max_epoch=1).run()

    def no_space(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(UserError, match="No space left on device"):
        trainer(tmp_path).run()
    assert names(tmp_path) == ["checkpoint_epoch_00001.pyth"]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB\nmore"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
)
def test_memory_that_runs_out_is_a_message_with_what_would_help(tmp_path, error):
    def spoil(_batch, _loss):
        raise error

    with pytest.raises(UserError, match=r"^out of memory: .*; settings that would help: TRAIN\.BATCH_SIZE \(now 2\)$"):
        trainer(tmp_path, FakeTask(spoil=spoil)).run()


def test_another_error_is_none_of_memory(tmp_path):
    def spoil(_batch, _loss):
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        trainer(tmp_path, FakeTask(spoil=spoil)).run()


@pytest.mark.parametrize(("skipped", "number"), [(2, 2), (3, 3)])
def test_fp16_skips_so_many_steps_and_then_stops(tmp_path, skipped, number):
    task = FakeTask(spoil=lambda _batch, loss: loss + (task.model[2].bias.sum() * 0).sqrt())
    fp16 = Precision(CPU, torch.float16)
    with pytest.raises(UserError, match=rf"the gradient is nan in epoch 1, step {number},"):
        trainer(tmp_path, task, precision=fp16, most_skipped=skipped).run()


def test_a_request_during_validation_stops_there_and_loses_nothing(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    trainer(whole, validate=lambda: {"v": 0.5}).run()

    def stopped():
        os.kill(os.getpid(), signal.SIGUSR1)
        raise ExitRequest("stopped while scoring v", 75)

    with pytest.raises(ExitRequest, match="stopped in epoch 1 after step 6") as caught:
        trainer(cut, validate=stopped).run()
    assert caught.value.exit_status == 75
    trainer(cut, validate=lambda: {"v": 0.5}).run()
    assert_same(last_state(cut), last_state(whole))


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_a_schedulers_signal_asks_to_be_started_again(tmp_path, number):
    with pytest.raises(ExitRequest) as caught:
        trainer(tmp_path, loader=FakeLoader(before=interrupt_at(0, 1, number))).run()
    assert caught.value.exit_status == 75


def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_taken(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    trainer(whole).run()
    with pytest.raises(ExitRequest):
        trainer(cut, loader=FakeLoader(before=interrupt_at(1, 2))).run()
    newest = CheckpointStore(cut, 1).newest()
    newest.write_bytes(newest.read_bytes()[:1000])
    with log_to(cut):
        trainer(cut).run()
    assert_same(last_state(cut), last_state(whole))
    assert f"renamed to {newest.name}.damaged, using the previous checkpoint" in (cut / "stdout.log").read_text()
    assert f"{newest.name}.damaged" in names(cut)


def test_a_checkpoint_of_another_version_is_refused_and_left_alone(tmp_path):
    trainer(tmp_path, max_epoch=1).run()
    state = last_state(tmp_path)
    del state["progress"]["history"]
    file = CheckpointStore(tmp_path, 1).save(state, 2)
    with pytest.raises(UserError, match=r"checkpoint_epoch_00002\.pyth was written by another version .*history"):
        trainer(tmp_path).run()
    assert file.is_file()


def test_a_signal_during_the_all_reduce_waits_for_the_next_so_that_all_processes_stop_together(tmp_path, monkeypatch):
    sent = []

    def all_reduce(flags):
        if not sent:
            sent.append(os.kill(os.getpid(), signal.SIGTERM))
        return flags

    monkeypatch.setattr(training, "highest_of", all_reduce)
    with pytest.raises(ExitRequest, match=r"stopped in epoch 1 after step 2;") as caught:
        trainer(tmp_path).run()
    assert caught.value.exit_status == 128 + signal.SIGTERM


class NormedTask(FakeTask):
    """The same with a batch norm; `inputs` scales the loader's bytes."""

    def __init__(self):
        super().__init__(dropout=0.0)
        self.model.insert(1, nn.BatchNorm1d(4))
        self.inputs = lambda clips: clips["rgb"] / 255


def test_precise_statistics_are_the_means_of_an_epochs_batches(tmp_path):
    task, loader = NormedTask(), FakeLoader()
    trainer(tmp_path, task, loader, max_epoch=1, precise_batches=4).run()
    batches = [(batch.clips["rgb"] / 255).flatten(1) for batch in list(loader.epoch(0))[:4]]
    mean = torch.stack([batch.mean(0) for batch in batches]).mean(0)
    # Of the batches' clips together, whose own statistics are unequal.
    assert torch.allclose(task.model[1].running_mean, mean, atol=1e-6)
    assert torch.allclose(task.model[1].running_var, torch.cat(batches).var(0, correction=0), atol=1e-6)


def test_frozen_norms_keep_their_statistics_and_learn_their_scale(tmp_path):
    task = NormedTask()
    trainer(tmp_path, task, max_epoch=2, frozen_norms=[""]).run()
    assert torch.equal(task.model[1].running_mean, torch.zeros(4))
    assert torch.equal(task.model[1].running_var, torch.ones(4))
    assert not torch.equal(task.model[1].weight, torch.ones(4))


@pytest.mark.parametrize("changes", [{"precise_batches": 4}, {"frozen_norms": [""]}, {"clip_value": 0.01}])
def test_an_interrupted_run_ends_as_the_uninterrupted_with_norms_and_clipping(tmp_path, changes):
    trainer(tmp_path / "whole", NormedTask(), **changes).run()
    for place in [(0, 3), (1, 5)]:
        with pytest.raises(ExitRequest):
            trainer(tmp_path / "parts", NormedTask(), FakeLoader(before=interrupt_at(*place)), **changes).run()
    trainer(tmp_path / "parts", NormedTask(), **changes).run()
    assert_same(last_state(tmp_path / "parts"), last_state(tmp_path / "whole"))


def frozen_task():
    task = NormedTask()
    task.model.append(nn.Linear(20, 20))
    freeze(task.model, ["1.", "3."])
    return task


def layered(folder, loader=None):
    """A training whose first layer learns at a tenth of the rate."""
    made = trainer(folder, NormedTask(), loader)
    made.optimizer = made.resume.optimizer = torch.optim.AdamW(
        [{"params": made.task.model[1].parameters(), "scale": 0.1}, {"params": made.task.model[3].parameters()}]
    )
    return made


def falling():
    """Validation scores of a training that is best after epoch 1."""
    scores = iter((0.5, 0.4, 0.3, 0.2))
    return lambda: {"known_val": next(scores), "known_val/loss": 1.0}


@pytest.mark.parametrize(
    "make",
    [
        lambda folder, loader=None: trainer(folder, frozen_task(), loader, frozen_norms=["1"]),
        lambda folder, loader=None: trainer(folder, NormedTask(), loader, average=0.9, precise_batches=2),
        layered,
    ],
)
def test_an_interrupted_fine_tuning_ends_as_the_uninterrupted(tmp_path, make):
    make(tmp_path / "whole").run()
    for place in [(0, 3), (1, 5)]:
        with pytest.raises(ExitRequest):
            make(tmp_path / "parts", FakeLoader(before=interrupt_at(*place))).run()
    make(tmp_path / "parts").run()
    assert_same(last_state(tmp_path / "parts"), last_state(tmp_path / "whole"))


def test_frozen_parameters_stay_have_no_state_and_neither_do_norms_below_them_change(tmp_path):
    task = frozen_task()
    before = copy.deepcopy(task.model.state_dict())
    trainer(tmp_path, task, frozen_norms=["1"], max_epoch=1).run()
    changed = {name for name, value in task.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"4.weight", "4.bias"}
    # AdamW of all parameters, as the optimiser of build_optimizer has the trained ones only.
    assert len(last_state(tmp_path)["optimizer_state"]["state"]) == 2


def test_the_average_is_the_recursion_and_is_what_is_validated_and_saved(tmp_path):
    task, decay, seen = FakeTask(dropout=0.0), 0.75, []
    average = [p.detach().clone() for p in task.model.parameters()]
    trained = trainer(tmp_path, task, max_epoch=1, average=decay)
    trained.validate = lambda: seen.append(copy.deepcopy(task.model.state_dict())) or {"known_val": 0.5}
    step = trained.optimizer.step

    def stepped():
        step()
        for mean, p in zip(average, task.model.parameters(), strict=True):
            mean.mul_(decay).add_(p.detach(), alpha=1 - decay)

    trained.optimizer.step = stepped
    trained.run()
    state = last_state(tmp_path)
    for mean, validated, saved in zip(average, seen[0].values(), state["model_state"].values(), strict=True):
        torch.testing.assert_close(validated, mean)
        assert torch.equal(saved, validated)
    assert_same(state["trained_state"], dict(task.model.state_dict()))
    assert not torch.equal(state["trained_state"]["2.weight"], state["model_state"]["2.weight"])


def test_training_ends_early_and_its_checkpoint_counts_as_the_last(tmp_path):
    whole, cut, changes = tmp_path / "whole", tmp_path / "cut", {"max_epoch": 9, "patience": 2, "checkpoint_period": 0}
    trainer(whole, validate=falling(), **changes).run()
    state = read_checkpoint(whole / "checkpoints" / "checkpoint_epoch_00009.pyth")
    assert (state["progress"]["epoch"], state["progress"]["best_epoch"]) == (3, 1)
    assert names(whole) == [BEST, *(f"checkpoint_epoch_0000{n}.pyth" for n in (1, 3, 9))]
    with pytest.raises(ExitRequest):
        trainer(cut, loader=FakeLoader(before=interrupt_at(1, 3)), validate=falling(), **changes).run()
    scores = iter((0.4, 0.3))
    trainer(cut, validate=lambda: {"known_val": next(scores), "known_val/loss": 1.0}, **changes).run()
    assert_same(last_state(cut), state)
    # A process that was killed before the last name was given gives it, and trains no further.
    (cut / "checkpoints" / "checkpoint_epoch_00009.pyth").unlink()
    trainer(cut, **changes).run()
    assert_same(last_state(cut), state)


def test_the_history_has_every_loss_the_rate_and_the_norm(tmp_path):
    trainer(tmp_path, validate=falling(), max_epoch=2).run()
    first, _ = last_state(tmp_path)["progress"]["history"]
    keys = {"epoch", "loss", "loss_class", "grad_norm", "lr", "failed_clips", "known_val", "val_loss"}
    assert set(first) == keys
    assert first["loss_class"] == pytest.approx(2 * first["loss"])
    assert first["lr"] == pytest.approx(0.01 + (0.1 - 0.01) * 5 / 6)
    assert 0 < first["grad_norm"] < 10


def test_a_run_that_is_shorter_than_the_period_logs_its_step_and_tags_are_pyslowfasts(tmp_path):
    changes = {"backends": ("tensorboard", "csv"), "histograms": ["2.w"], "log_period": 100, "max_epoch": 1}
    trainer(tmp_path, loader=FakeLoader(batch_size=4), validate=falling(), **changes).run()
    events = EventAccumulator(str(tmp_path / "tensorboard"), {"histograms": 0, "tensors": 0}).Reload()
    tags = set(events.Tags()["scalars"])
    assert {"Train/loss", "Train/lr", "Train/grad_norm", "Train/loss_class", "Val/mAP", "Val/known_val/loss"} <= tags
    assert [event.step for event in events.Scalars("Train/loss")] == [3]
    assert events.Tags()["histograms"] == ["Weights/2.weight"]
    assert "A: 1" in str(events.Tensors("config/text_summary")[0].tensor_proto)
    with (tmp_path / "metrics.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert {row["tag"] for row in rows} == tags
    assert [row["value"] for row in rows if row["tag"] == "Val/mAP"] == ["0.5"]


def test_an_older_checkpoint_at_the_end_of_an_epoch_counts_no_parts():
    assert Progress(step=2, loss_sum=3.0).end_epoch(2) == {"loss": 1.5, "failed_clips": 0}
