"""The whole job with MuscleSynth's configs on easier clips: two stages, four splits, reuse, scores of video files."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from tests.clips import make_learnable_data
from tests.run_net import run_net, run_net_here
from transm3e.data.annotations import MUSCLES
from transm3e.models.weights import read_checkpoint

CONFIGS = "configs/MuscleSynth"
MODEL = "transm3e_rgb_motion"
STAGES = [f"{CONFIGS}/{name}.yaml" for name in ("random", "all_ones", MODEL)]
CLIPS = 16  # of each evaluation split
EPOCHS = 3  # of stage 2
SIZE = (
    *("LOG_PERIOD", 6, "DATA.NUM_FRAMES", 4, "DATA.SAMPLING_RATE", 2),
    *("DATA.TRAIN_CROP_SIZE", 32, "DATA.TEST_CROP_SIZE", 32),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_learnable_data(tmp_path_factory.mktemp("MuscleSynth"), CLIPS)


@pytest.fixture(scope="module")
def job(data, tmp_path_factory):
    """Random, All Ones and TransM3E with both its stage-1 runs, by one command; and its output."""
    runs = tmp_path_factory.mktemp("runs")
    words = [
        *("--cfg", *STAGES, "DATA.PATH_TO_DATA_DIR", data, "RUNS_DIR", runs, "SOLVER.MAX_EPOCH", EPOCHS, *SIZE),
        *("INIT.OPTS", [*SIZE, "SOLVER.MAX_EPOCH", 8, "TRAIN.EVAL_PERIOD", 8, "TRAIN.CHECKPOINT_PERIOD", 8]),
    ]
    return words, run_net(*words), runs


def folder(runs: Path, name: str) -> Path:
    (found,) = [path for path in runs.iterdir() if re.fullmatch(rf"{name}-MuscleSynth\d*-[0-9a-f]{{10}}", path.name)]
    return found


def results(runs: Path, name: str) -> dict:
    return json.loads((folder(runs, name) / "results.json").read_text())


def test_one_command_makes_both_stages(job):
    _, _, runs = job
    names = sorted(path.name.split("-")[0] for path in runs.iterdir())
    assert names == ["all_ones", "mcts_rgb_diff", "mcts_rgb_motion", "random", "transm3e_rgb_motion"]
    for name in names:
        there = {path.name for path in folder(runs, name).iterdir()}
        assert {"config.yaml", "stdout.log", "results.json", "muscles.png", "predictions"} <= there
    assert (folder(runs, MODEL) / "tensorboard").is_dir()


def test_trained_model_beats_random_and_all_ones_by_a_wide_margin(job):
    _, _, runs = job
    known = {n: results(runs, n)["splits"]["known_val"]["mAP"] for n in ("random", "all_ones", MODEL, "mcts_rgb_diff")}
    chance = max(known["random"], known["all_ones"])
    assert known[MODEL] > 2 * chance
    assert known["mcts_rgb_diff"] > 2 * chance


def test_the_table_says_what_results_json_says(job):
    _, done, runs = job
    (row,) = [line for line in done.stdout.splitlines() if line.startswith(f"{MODEL} ")]
    shown = [float(word.rstrip("*")) for word in row.split()[1:]]
    found = results(runs, MODEL)
    splits = {name: split["mAP"] for name, split in found["splits"].items()}
    expected = [splits["known_val"], splits["new_val"], found["mean_val"], splits["known_test"], splits["new_test"]]
    assert shown[:5] == [pytest.approx(100 * value, abs=0.051) for value in expected]
    assert found["mean_val"] == pytest.approx((splits["known_val"] + splits["new_val"]) / 2)
    names = [line.split()[0] for line in done.stdout.splitlines()[2:] if line[:1].isalpha() and len(line.split()) > 6]
    assert names == ["model", "random", "all_ones", "mcts_rgb_motion", "mcts_rgb_diff", "transm3e_rgb_motion"]


def test_every_clip_is_counted_once(job):
    _, _, runs = job
    for split in results(runs, MODEL)["splits"].values():
        assert split["num_clips"] == CLIPS
        assert split["failed_clips"] == []
        assert set(split["per_muscle"]) == set(MUSCLES)


def test_logs_have_json_stats_as_pyslowfast_writes_them(job):
    _, _, runs = job
    log = (folder(runs, MODEL) / "stdout.log").read_text()
    stats = [json.loads(line.split("json_stats: ")[1]) for line in log.splitlines() if "json_stats: " in line]
    assert {s["_type"] for s in stats} == {"train_iter_", "train_epoch", "val_epoch"}
    step = next(s for s in stats if s["_type"] == "train_iter_")
    assert {"epoch", "iter", "dt", "dt_data", "dt_net", "eta", "loss", "loss_mctkd", "lr", "grad_norm", "RAM"} <= set(
        step
    )


def test_the_student_started_from_stage_1_and_holds_no_teacher(job):
    _, done, runs = job
    state = read_checkpoint(folder(runs, MODEL) / "checkpoints" / "checkpoint_epoch_00003.pyth")
    assert state["epoch"] == 2
    assert not any("teacher" in name for name in state["model_state"])
    assert "receivers" in state["model_state"]
    assert "starting weights" in done.stderr


def test_the_same_command_again_reuses_every_run(job):
    words, done, runs = job
    logs = {path: path.stat().st_mtime_ns for path in runs.rglob("stdout.log")}
    again = run_net_here(*words)
    assert again.stdout == done.stdout
    assert again.stderr.count("done already") == 3
    assert logs == {path: path.stat().st_mtime_ns for path in runs.rglob("stdout.log")}


def test_evaluation_alone_needs_neither_teacher_nor_stage_1(job, tmp_path):
    words, done, runs = job
    checkpoint = folder(runs, MODEL) / "checkpoints" / "checkpoint_epoch_00003.pyth"
    alone = run_net_here(
        *("--cfg", STAGES[2], *words[4:], "RUNS_DIR", tmp_path),
        *("TRAIN.ENABLE", False, "TEST.CHECKPOINT_FILE_PATH", checkpoint),
    )
    assert [path.name.split("-")[0] for path in tmp_path.iterdir()] == [MODEL]
    row = next(line for line in done.stdout.splitlines() if line.startswith(f"{MODEL} "))
    assert row.replace("*", "").split() == alone.stdout.splitlines()[4].split()


def test_scores_of_video_files(job, tmp_path, shared):
    words, _, _ = job
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("mmaction2_part_0.mp4", "v_BaseballPitch_g01_c01.avi"):
        (videos / name).symlink_to(shared / "data" / "clips" / name)
    (videos / "broken.mp4").write_bytes(b"no video")
    run_net_here(
        *("--cfg", STAGES[2], *words[4:], "TEST.ENABLE", False),
        *("DEMO.ENABLE", True, "DEMO.INPUT_VIDEO", videos, "DEMO.OUTPUT_FILE", tmp_path / "scores.csv"),
    )
    rows = {row["clip"]: row for row in csv.DictReader((tmp_path / "scores.csv").open())}
    assert set(rows) == {"mmaction2_part_0.mp4", "v_BaseballPitch_g01_c01.avi", "broken.mp4"}
    assert rows["broken.mp4"]["error"]
    scored = rows["mmaction2_part_0.mp4"]
    assert sum(float(scored[muscle]) for muscle in MUSCLES) == pytest.approx(1, abs=1e-4)
