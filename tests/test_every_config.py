"""Every shipped config loads, plans and builds its model; every leaf has a header that says what it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from transm3e.config import load_cfg
from transm3e.config.plan import plan
from transm3e.models import build_model
from transm3e.tasks.build import check_teacher

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
LEAVES = sorted(path for path in CONFIGS.rglob("*.yaml") if "_base_" not in path.parts)


def test_there_are_configs():
    assert len(LEAVES) >= 8


@pytest.mark.parametrize("path", LEAVES, ids=lambda p: str(p.relative_to(CONFIGS)))
def test_config_loads_plans_and_builds(path, tmp_path):
    runs = plan([str(path)], ["RUNS_DIR", str(tmp_path)])
    assert runs[-1].name == path.stem
    for run in runs:
        with torch.device("meta"):
            build_model(run.cfg)
    cfg = load_cfg(path)
    if cfg.INIT.TEACHER_FROM:
        check_teacher(cfg, load_cfg(cfg.INIT.TEACHER_FROM), cfg.INIT.TEACHER_FROM)


@pytest.mark.parametrize("path", LEAVES, ids=lambda p: str(p.relative_to(CONFIGS)))
def test_leaf_has_a_header_and_is_short(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert any("run_net.py --cfg" in line for line in lines if line.startswith("#"))
    assert len([line for line in lines if line and not line.startswith("#")]) <= 25
