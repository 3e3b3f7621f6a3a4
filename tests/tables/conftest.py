"""What tests of runners share."""

from __future__ import annotations

import pytest

from tests.tables.fake_run_net import FAKE_RUN_NET, FIRST, TABLE
from transm3e.tables.command import build_plan


@pytest.fixture
def make(tmp_path):
    """Returns a function (seeds) -> plan of TABLE."""
    configs, tables = tmp_path / "configs" / "MuscleSynth", tmp_path / "configs" / "tables"
    configs.mkdir(parents=True)
    tables.mkdir()
    (tmp_path / "clips.csv").write_text("path,split,activity,muscles\n")
    for name in ("rgb", "rgb_diff", "flow"):
        (configs / f"{name}.yaml").write_text(FIRST % (name, tmp_path))
    student = "TASK: distill\nAUG: {NUM_SAMPLE: 2}\nTRANSM3E: {RECEIVERS: True}\n"
    (configs / "student.yaml").write_text(
        FIRST % ("rgb", tmp_path) + student + "INIT: {STUDENT_FROM: rgb.yaml, TEACHER_FROM: rgb_diff.yaml}\n"
    )
    (tables / "trial.yaml").write_text(TABLE)
    (tmp_path / "stand_in.py").write_text(FAKE_RUN_NET)
    opts = ["RUNS_DIR", str(tmp_path / "runs")]
    return lambda seeds=(0,): build_plan([tables / "trial.yaml"], ["MuscleSynth"], "full", seeds, None, 0, opts)
