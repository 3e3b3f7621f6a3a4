"""Every row of table 2, and HAR lookup, trains a few steps and is scored on MuscleSynth tiny, by one command."""

from __future__ import annotations

import json
import math

from tests.conftest import PER_SPLIT
from tests.run_net import REPO, run_net
from transm3e.config import load_cfg

CONFIGS = REPO / "configs" / "MuscleSynth"
# Random, All Ones and TransM3E with its two stages are trained in test_end_to_end; table 2 has no others.
ROWS = (
    *("stgcn", "ctrgcn", "hdgcn", "c2d", "i3d", "slow", "slowfast", "mvitv2", "mvitv2_deep", "videoswin"),
    *("videoswin_wide", "transm3e_deep", "har_lookup"),
)
LEARNT = (*ROWS, "mcts_rgb_deep", "mcts_rgb_diff_deep")
QUICK = [
    *("SOLVER.MAX_EPOCH", 1, "TRAIN.BATCH_SIZE", 32, "TEST.BATCH_SIZE", 32, "TRAIN.EVAL_PERIOD", 0, "LOG_PERIOD", 1),
    *("DATA.NUM_FRAMES", 4, "DATA.TRAIN_CROP_SIZE", 32, "DATA.TEST_CROP_SIZE", 32, "TENSORBOARD.ENABLE", False),
    *("DATA_LOADER.NUM_WORKERS", 0, "TEST.NUM_ENSEMBLE_VIEWS", 1),
]


def test_no_row_of_musclesynth_is_left_out():
    here = {path.stem for path in CONFIGS.glob("*.yaml")}
    elsewhere = {"random", "all_ones", "transm3e", "mcts_rgb", "mcts_rgb_diff"}
    of_ablations = {"mcts_flow", "two_branch", "deit", "logits_kd"}
    of_controls = {"mcts_rgb_motion", "transm3e_rgb_motion"}
    assert here == {*LEARNT, *elsewhere, *of_ablations, *of_controls}


def test_every_row_trains_and_is_scored(few_clips, tmp_path):
    configs = [CONFIGS / f"{name}.yaml" for name in ROWS]
    done = run_net(
        *("--cfg", *configs, "DATA.PATH_TO_DATA_DIR", few_clips, "RUNS_DIR", tmp_path, *QUICK, "INIT.OPTS", [*QUICK])
    )
    folders = {path.name.split("-")[0]: path for path in tmp_path.iterdir()}
    assert set(folders) == set(LEARNT)
    shown = {line.split()[0] for line in done.stdout.splitlines() if line}
    assert set(ROWS) <= shown
    for name, folder in folders.items():
        results = json.loads((folder / "results.json").read_text())
        assert results["run"]["model"] == load_cfg(CONFIGS / f"{name}.yaml").MODEL.MODEL_NAME
        assert {split["num_clips"] for split in results["splits"].values()} == {PER_SPLIT}
        assert all(0 < split["mAP"] < 1 for split in results["splits"].values())
        stats = [
            json.loads(line.partition("json_stats: ")[2]) for line in (folder / "stdout.log").open() if "iter_" in line
        ]
        assert len(stats) == 2
        assert all(math.isfinite(step["loss"]) and step["grad_norm"] > 0 for step in stats)
