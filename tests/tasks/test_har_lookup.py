"""HAR lookup: the muscles of the recognised activity, after views are averaged; and the classes in checkpoints."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.run_net import run_net_here
from transm3e.data.activities import Activities
from transm3e.data.annotations import MUSCLES, read_clip_table
from transm3e.data.build import check_tables
from transm3e.errors import UserError
from transm3e.losses import LOSSES
from transm3e.models import build_model
from transm3e.models.output import ModelOutput
from transm3e.models.weights import read_checkpoint
from transm3e.report.scores import read_predictions
from transm3e.runs.results import read_results
from transm3e.tasks import build_task, build_trained_task
from transm3e.tasks.har_lookup import HARLookup

CPU = torch.device("cpu")
TABLE = np.eye(20, dtype=np.uint8)[[3, 5, 7]] | np.eye(20, dtype=np.uint8)[[0, 0, 9]]


def lookup(muscles):
    task = HARLookup(torch.nn.Identity(), None, None, Activities(("a", "b", "c"), TABLE))
    task.muscles = muscles
    return task


def test_the_predicted_activity_gives_its_muscles_and_the_first_wins_a_tie():
    scores = torch.tensor([[0.1, 0.7, 0.2], [0.4, 0.2, 0.4]])
    assert torch.equal(lookup("predicted").conclude(scores), torch.from_numpy(TABLE[[1, 0]]).float())


def test_expected_muscles_are_weighted_by_the_scores():
    scores = torch.tensor([[0.1, 0.7, 0.2]])
    expected = 0.1 * TABLE[0] + 0.7 * TABLE[1] + 0.2 * TABLE[2]
    torch.testing.assert_close(lookup("expected").conclude(scores)[0], torch.from_numpy(expected).float())


def test_expected_muscles_stay_shares_where_views_gave_the_highest_of_each_score():
    scores = torch.tensor([[0.9, 0.8, 0.0]])
    assert lookup("expected").conclude(scores)[0].max() <= 1
    torch.testing.assert_close(lookup("expected").conclude(scores)[0, 0], torch.tensor(1.0))


def test_activities_without_muscles_cannot_be_looked_up():
    with pytest.raises(UserError, match="add the column muscles"):
        HARLookup(torch.nn.Identity(), None, None, Activities(("a",)))


def test_labels_are_of_muscles_and_give_no_loss_even_with_as_many_activities():
    names = tuple(f"activity {number}" for number in range(20))
    model = torch.nn.Identity()
    model.forward = lambda clips: ModelOutput(clips["rgb"])
    task = HARLookup(model, LOSSES["cross_entropy"], lambda clips: clips, Activities(names, np.eye(20, dtype=np.uint8)))
    scores, loss = task.score(SimpleNamespace(clips={"rgb": torch.zeros(2, 20)}, labels=torch.ones(2, 20)))
    assert loss is None
    torch.testing.assert_close(scores, torch.full((2, 20), 0.05))


@pytest.fixture
def activity_cfg(tiny_cfg, noise_data):
    tiny_cfg.DATA.PATH_TO_DATA_DIR, tiny_cfg.MODEL.NUM_CLASSES = str(noise_data), 3
    tiny_cfg.MODEL.LOSS_FUNC = "cross_entropy"
    return tiny_cfg


def save(cfg, path, names, muscles=None):
    state = {"model_state": build_model(cfg).state_dict(), "cfg": cfg.dump()}
    torch.save({**state, "activities": Activities(names, muscles).as_plain()}, path)
    return path


def test_a_checkpoints_classes_must_be_the_tables(activity_cfg, tmp_path):
    names = tuple(f"activity {i}" for i in range(3))
    task = build_trained_task(activity_cfg, save(activity_cfg, tmp_path / "a.pyth", names), CPU)
    assert (task.target, task.columns) == ("activity", names)
    other = save(activity_cfg, tmp_path / "b.pyth", ("activity 1", "activity 0", "activity 2"))
    with pytest.raises(UserError, match=r"class 0 of .*b\.pyth is activity 1, but activity 0 in the clip table"):
        build_trained_task(activity_cfg, other, CPU)
    # To look muscles up the checkpoint is enough, whatever the table says of train.
    activity_cfg.TASK, activity_cfg.TRAIN.ENABLE, activity_cfg.MODEL.NUM_CLASSES = "har_lookup", False, 7
    check_tables([activity_cfg])
    activity_cfg.MODEL.NUM_CLASSES, activity_cfg.LOOKUP.MUSCLES = 3, "expected"
    activity_cfg.TASK, activity_cfg.DATA.PATH_TO_DATA_DIR = "har_lookup", ""
    task = build_trained_task(activity_cfg, save(activity_cfg, tmp_path / "c.pyth", names, TABLE), CPU)
    assert (task.target, task.columns, task.muscles) == ("muscles", MUSCLES, "expected")


def test_training_reads_the_tables_classes(activity_cfg):
    activity_cfg.TASK = "har_lookup"
    task = build_task(activity_cfg, CPU)
    assert isinstance(task, HARLookup)
    assert task.activities.names == ("activity 0", "activity 1", "activity 2")
    # What validation looks at, and so which epoch is best, is no matter of the evaluation's settings.
    activity_cfg.LOOKUP.MUSCLES = "expected"
    assert build_task(activity_cfg, CPU).muscles == "predicted"


def test_both_run_from_the_command_line(noise_data, tmp_path, repo):
    config = tmp_path / "run.yaml"
    config.write_text(
        f"_BASE_: {repo}/configs/_base_/model/transm3e_nano.yaml\nNUM_GPUS: 0\nCPU_THREADS: 1\n"
        "DATA: {NUM_FRAMES: 4, SAMPLING_RATE: 2, TARGET_FPS: 0.0, TRAIN_CROP_SIZE: 32, TEST_CROP_SIZE: 32}\n"
        "MODEL: {NUM_CLASSES: 3, LOSS_FUNC: cross_entropy}\nSOLVER: {MAX_EPOCH: 1}\nTENSORBOARD: {ENABLE: False}\n"
        "TRAIN: {BATCH_SIZE: 8}\nDATA_LOADER: {NUM_WORKERS: 0}\nTEST: {NUM_ENSEMBLE_VIEWS: 2}\n"
        "MIXUP: {ENABLE: True}\n"
    )
    lookup = tmp_path / "har.yaml"
    lookup.write_text("_BASE_: run.yaml\nTASK: har_lookup\n")
    done = run_net_here("--cfg", config, lookup, "DATA.PATH_TO_DATA_DIR", noise_data, "RUNS_DIR", tmp_path / "runs")
    assert "top-1 accuracy in percent" in done.stdout
    assert "top-5 accuracy in percent" in done.stdout
    assert "mAP in percent" in done.stdout
    folders = {path.name.split("-")[0]: path for path in (tmp_path / "runs").iterdir()}
    activities = read_results(folders["run"] / "results.json")
    assert activities["run"]["target"] == "activity"
    assert activities["splits"]["known_val"]["top5"] == 1.0
    assert (folders["run"] / "activities.png").is_file()
    assert (folders["har"] / "muscles.png").is_file()
    found = read_predictions(folders["run"] / "predictions" / "known_val.npz")
    assert found.columns == ("activity 0", "activity 1", "activity 2")
    scores = read_predictions(folders["har"] / "predictions" / "known_val.npz").scores
    clips = read_clip_table(noise_data).select("train")
    rows = {tuple(row) for row in clips.labels.tolist()}
    activity_rows = {
        tuple((clips.labels[clips.activities == name].mean(axis=0) >= 0.5).astype(int)) for name in found.columns
    }
    assert {tuple(row) for row in scores.astype(int)} <= activity_rows
    assert len(rows) >= len(activity_rows)
    checkpoint = read_checkpoint(next((folders["har"] / "checkpoints").glob("checkpoint_epoch_00001.pyth")))
    assert checkpoint["activities"]["names"] == ["activity 0", "activity 1", "activity 2"]
