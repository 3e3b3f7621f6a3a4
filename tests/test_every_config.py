"""Every shipped config loads, plans and builds its model; every leaf has a header that says what it is."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
import torch

from transm3e.config import get_cfg, load_cfg
from transm3e.config.plan import plan
from transm3e.errors import UserError
from transm3e.models import build_model
from transm3e.tasks import build_task
from transm3e.tasks.build import check_teacher

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
LEAVES = sorted(path for path in CONFIGS.rglob("*.yaml") if "_base_" not in path.parts)
FULL_SIZE = [path for path in LEAVES if path.parent.name == "MuscleMap136"]
SIZES = ("EMBED_DIM", "NUM_HEADS", "DEPTH", "DIM_MUL", "HEAD_MUL", "POOL_Q_STRIDE", "POOL_KV_STRIDE_ADAPTIVE")
COLUMNS = ("known_val", "new_val", "mean_val", "known_test", "new_test", "mean_test")


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
def test_config_takes_the_protocol_of_the_authors_code(path, tmp_path):
    for run in plan([str(path)], ["PROTOCOL", "authors_code", "RUNS_DIR", str(tmp_path)]):
        assert (run.cfg.PROTOCOL, run.cfg.TEST.VIEWS_FROM) == ("authors_code", "start")
        with torch.device("meta"):
            build_model(run.cfg)


@pytest.mark.parametrize("path", LEAVES, ids=lambda p: str(p.relative_to(CONFIGS)))
def test_leaf_has_a_header_and_is_short(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert any("run_net.py --cfg" in line for line in lines if line.startswith("#"))
    assert len([line for line in lines if line and not line.startswith("#")]) <= 25


@pytest.mark.parametrize("path", FULL_SIZE, ids=lambda p: p.stem)
def test_a_full_size_header_gives_the_papers_figures(path, shared):
    header = " ".join(line[2:] for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# "))
    if "Not in the paper's tables" in header:
        assert "table" not in header.replace("tables", "")
        return
    number, row = re.search(r'[Tt]able (\d+)[^"]*row "([^"]+)"', header).groups()
    given = tuple(re.search(rf"\b{column} ([\d.]+)", header)[1].rstrip(".") for column in COLUMNS)
    name = "table02_musclemap136" if number == "2" else f"table{int(number):02d}_*"
    [table] = (shared / "paper" / "tables").glob(f"{name}.csv")
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    [found] = [found for found in rows if tuple(found[column] for column in COLUMNS) == given]
    # Table 3 names its rows by what is switched on.
    switched_on = [key.upper() for key, value in found.items() if key.startswith("mct") and value == "1"]
    assert row in found.values() or [row.upper()] == switched_on


def test_the_small_backbone_is_the_defaults_and_the_base_one_is_deeper():
    small, base = (load_cfg(CONFIGS / "MuscleMap136" / f"mcts_rgb_{size}.yaml") for size in "sb")
    assert {key: small.MVIT[key] for key in SIZES} == {key: get_cfg().MVIT[key] for key in SIZES}
    assert (base.MVIT.DEPTH, base.MVIT.DROPPATH_RATE, base.DATA.NUM_FRAMES) == (24, 0.3, 16)


def test_the_schedules_are_the_papers():
    small = {path.stem: load_cfg(path) for path in FULL_SIZE if path.stem.endswith("_s")}
    assert {name: cfg.SOLVER.MAX_EPOCH for name, cfg in small.items() if name != "transm3e_s"} == dict.fromkeys(
        ("mcts_flow_s", "mcts_rgb_s", "mcts_rgb_diff_s", "mvitv2_s"), 40
    )
    cfg = small["transm3e_s"]
    assert (cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.BASE_LR, cfg.SOLVER.WEIGHT_DECAY) == (10, 1e-4, 0.05)
    assert (cfg.TRAIN.BATCH_SIZE // cfg.NUM_GPUS, cfg.AUG.NUM_SAMPLE, cfg.SOLVER.CLIP_GRAD_L2NORM) == (16, 2, 1.0)


@pytest.mark.parametrize(("leaf", "file"), [("mcts_rgb_s", "MViTv2_S_in1k"), ("mvitv2_b", "MViTv2_B_in1k")])
def test_missing_image_weights_are_an_error_that_names_them(leaf, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    device = torch.device("meta")
    with device, pytest.raises(UserError, match=rf"weights/{file}\.pyth"):
        build_task(load_cfg(CONFIGS / "MuscleMap136" / f"{leaf}.yaml"), device)


def test_training_from_scratch_is_one_option_for_one_stage_and_for_both():
    scratch = ["TRAIN.CHECKPOINT_FILE_PATH", ""]
    assert load_cfg(CONFIGS / "MuscleMap136" / "mcts_rgb_s.yaml", scratch).TRAIN.CHECKPOINT_FILE_PATH == ""
    runs = plan([str(CONFIGS / "MuscleMap136" / "transm3e_s.yaml")], ["INIT.OPTS", str(scratch)])
    assert [run.cfg.TRAIN.CHECKPOINT_FILE_PATH for run in runs] == [""] * 3
