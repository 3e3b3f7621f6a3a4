"""A tiny two-stage run whose losses and scores are kept in tests/assets/, so that a change of them is noticed.

python -m tests.losses overwrites them, after a change that is meant to change how models train.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from subprocess import CompletedProcess
from unittest.mock import patch

import cv2
import numpy as np

from tests.run_net import run_net_here
from transm3e.data.annotations import Clip, write_clip_table
from transm3e.engine.logging import Recorder

ASSETS = Path(__file__).parent / "assets"
LOSSES, CONFIG = ASSETS / "losses" / "losses.json", ASSETS / "losses" / "transm3e.yaml"
STAGES = ("student", "teacher", "transm3e")  # in the order of their training, of equally many steps


def make_pictures(root: Path) -> Path:
    """Twelve training clips and three of each other split, 10 pictures of 40x48, to the last byte alike everywhere."""
    rng, clips = np.random.default_rng(0), []
    for i, split in enumerate(["train"] * 12 + ["known_val", "new_val", "known_test", "new_test"] * 3):
        folder = root / f"{i:02d}"
        folder.mkdir(parents=True)
        picture = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
        for n in range(10):
            moved = np.roll(picture, (n, i % 5 * n), (0, 1))
            # Not compressed: a size, by which runs know their data, must not depend on the version of zlib.
            cv2.imwrite(str(folder / f"{n}.png"), moved, [cv2.IMWRITE_PNG_COMPRESSION, 0])
        clips.append(Clip(folder.name, split, f"activity {i % 5}", (i % 5, 5 + i % 7, 12 + i % 8)))
    write_clip_table(root / "clips.csv", clips)
    return root


def run(data: Path, runs: Path, *words: object) -> CompletedProcess[str]:
    """Both stages, as far as they are not in `runs`."""
    return run_net_here("--cfg", CONFIG, "DATA.PATH_TO_DATA_DIR", data, "RUNS_DIR", runs, *words)


def losses(data: Path, runs: Path) -> dict[str, list[dict[str, float]]]:
    """Train both stages: every loss, and the gradient's norm, of each step, not rounded as a log's."""
    steps = []

    def record(_: Recorder, stats: dict, __: int) -> None:
        if stats["_type"] == "train_iter_":
            steps.append({key: value for key, value in stats.items() if "loss" in key or key == "grad_norm"})

    with patch.object(Recorder, "record", record):
        run(data, runs, "TEST.ENABLE", False)
    each = len(steps) // len(STAGES)
    return {name: steps[i * each : (i + 1) * each] for i, name in enumerate(STAGES)}


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = losses(make_pictures(Path(folder) / "data"), Path(folder) / "runs")
    LOSSES.write_text(json.dumps(found, indent=1) + "\n")
    sys.stdout.write(f"{LOSSES}: {sum(map(len, found.values()))} steps\n")
