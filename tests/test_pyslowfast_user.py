"""A user of PySlowFast: its configs train and test on small data, under its protocol."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests.run_net import run_net_here
from transm3e.config import load_cfg
from transm3e.report.activity_figure import activities_result

ASSETS = Path(__file__).parent / "assets"
SMALL = [
    *("PROTOCOL", "pyslowfast", "NUM_GPUS", 0, "TRAIN.CHECKPOINT_FILE_PATH", "", "TRAIN.BATCH_SIZE", 4),
    *("TEST.BATCH_SIZE", 8, "DATA_LOADER.NUM_WORKERS", 0, "SOLVER.MAX_EPOCH", 1, "SOLVER.WARMUP_EPOCHS", 0),
    *("DATA.NUM_FRAMES", 8, "DATA.SAMPLING_RATE", 1, "DATA.TARGET_FPS", 0, "DATA.TRAIN_JITTER_SCALES", [32, 36]),
    *("DATA.TRAIN_CROP_SIZE", 32, "DATA.TEST_CROP_SIZE", 32, "DATA.DECODING_SHORT_SIZE", 32, "SOLVER.BASE_LR", 1e-3),
    *(
        "TEST.NUM_ENSEMBLE_VIEWS",
        2,
        "TEST.SPLITS",
        ["known_val"],
        "BN.NORM_TYPE",
        "batchnorm",
        "BN.NUM_BATCHES_PRECISE",
        2,
    ),
    *("RESNET.WIDTH_PER_GROUP", 8, "MVIT.DEPTH", 2, "MVIT.DIM_MUL", [[1, 2.0]], "MVIT.HEAD_MUL", [[1, 2.0]]),
    *("MVIT.POOL_Q_STRIDE", [[1, 1, 2, 2]], "MVIT.EMBED_DIM", 16, "TENSORBOARD.ENABLE", False),
    *("X3D.WIDTH_FACTOR", 0.7, "X3D.DEPTH_FACTOR", 1.0),
]
FILES = {
    "SLOWFAST_8x8_R50.yaml": "top1",
    "MVITv2_S_16x4.yaml": "top1",
    "pyslowfast/Kinetics_X3D_S.yaml": "top1",
    "pyslowfast/Charades_SLOWFAST_16x8_R50.yaml": "mAP",
}


@pytest.mark.parametrize("name", FILES)
def test_its_config_trains_and_tests(name, noise_data, tmp_path):
    table = noise_data / "clips.csv"
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    several = FILES[name] == "mAP"
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "split", "activity"))
        writer.writerows(
            (row["path"], row["split"], ";".join("abc"[: 1 + i % 3]) if several else "abc"[i % 3])
            for i, row in enumerate(rows)
        )
    out = tmp_path / "run"
    opts = [*SMALL, "MODEL.NUM_CLASSES", 3, "DATA.PATH_TO_DATA_DIR", noise_data, "OUTPUT_DIR", out]
    run_net_here("--cfg", ASSETS / name, *opts)
    results = json.loads((out / "results.json").read_text())
    assert results["run"]["target"] == ("activities" if several else "activity")
    assert 0 <= results["splits"]["known_val"][FILES[name]] <= 1
    assert set(results["splits"]["known_val"]["per_activity"]) == set("abc")
    # 2 views of 3 crops, as all but MViTv2's, which sets one.
    assert (1 if "MVIT" in name else 3) == load_cfg(ASSETS / name, opts).TEST.NUM_SPATIAL_CROPS


def test_several_activities_are_scored_by_their_average_precision():
    labels = np.array([[1, 1, 0], [0, 1, 0], [1, 0, 0]])
    result = activities_result([[0.9, 0.9, 0], [0.8, 0.1, 0], [0.7, 0.5, 0]], labels, ("a", "b", "c"))
    assert result["per_activity"] == {
        "a": pytest.approx((1 + 2 / 3) / 2),
        "b": pytest.approx((1 + 2 / 3) / 2),
        "c": None,
    }
    assert result["mAP"] == pytest.approx((1 + 2 / 3) / 2)
    assert result["positives"] == {"a": 2, "b": 2, "c": 0}
