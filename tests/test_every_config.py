"""Every shipped config loads, plans and builds its model; every leaf has a header that says what it is."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
import torch
from fvcore.common.config import CfgNode

from tests.each import assert_each
from transm3e.config import get_cfg, load_cfg
from transm3e.config.node import all_keys, names_key
from transm3e.errors import UserError
from transm3e.models import build_model
from transm3e.runs.plan import plan
from transm3e.tasks import build_task
from transm3e.tasks.build import check_teacher

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
LEAVES = {
    str(path.relative_to(CONFIGS)): path
    for path in sorted(CONFIGS.rglob("*.yaml"))
    if not {"_base_", "tables", "sweeps"} & {*path.parts}
}
# Benchmark -> its name in headers, and its columns of table 2.
PAPERS = {
    "MuscleMap136": ("MuscleMap136", "table02_musclemap136"),
    "MuscleUCF90": ("Muscle-UCF90", "table02_muscle_ucf90"),
    "MuscleHMDB41": ("Muscle-HMDB41", "table02_muscle_hmdb41"),
}
FULL_SIZE = {name: path for name, path in LEAVES.items() if path.parent.name in PAPERS}
# Row of table 2 -> its leaf at full size, and at the size that a CPU trains.
ROWS = {
    "Random": ("random", "random"),
    "All Ones": ("all_ones", "all_ones"),
    "ST-GCN": ("stgcn", "stgcn"),
    "CTR-GCN": ("ctrgcn", "ctrgcn"),
    "HD-GCN": ("hdgcn", "hdgcn"),
    "C2D (R50)": ("c2d_r50", "c2d"),
    "I3D (R50)": ("i3d_r50", "i3d"),
    "Slow (R50)": ("slow_r50", "slow"),
    "SlowFast (R50)": ("slowfast_r50", "slowfast"),
    "MViTv2-S": ("mvitv2_s", "mvitv2"),
    "MViTv2-B": ("mvitv2_b", "mvitv2_deep"),
    "VideoSwin-S": ("videoswin_s", "videoswin"),
    "VideoSwin-B": ("videoswin_b", "videoswin_wide"),
    "TransM3E-Small": ("transm3e_s", "transm3e"),
    "TransM3E-Base": ("transm3e_b", "transm3e_deep"),
}
# Activities in train.
ACTIVITIES = {"MuscleMap136": 116, "MuscleUCF90": 81, "MuscleHMDB41": 35, "MuscleSynth": 38, "FreeExercise": 360}
SIZES = ("EMBED_DIM", "NUM_HEADS", "DEPTH", "DIM_MUL", "HEAD_MUL", "POOL_Q_STRIDE", "POOL_KV_STRIDE_ADAPTIVE")
COLUMNS = ("known_val", "new_val", "mean_val", "known_test", "new_test", "mean_test")
# Groups and keys that no model reads, so that configs which differ in nothing else share what they build.
NOT_OF_MODELS = (
    "AUG.",
    "DATA.MEAN",
    "DATA.PATH_TO_DATA_DIR",
    "DATA.STD",
    "DATA_LOADER.",
    "INIT.",
    "NUM_GPUS",
    "OUTPUT_DIR",
    "PROTOCOL",
    "RUNS_DIR",
    "SOLVER.",
    "TEST.",
    "TRAIN.",
)
BUILT: dict[str, torch.nn.Module] = {}


def built(cfg: CfgNode) -> torch.nn.Module:
    """The config's model on the meta device; one for all configs with the same model."""
    key = repr([(name, value) for name, value in sorted(all_keys(cfg).items()) if not names_key(NOT_OF_MODELS, name)])
    if key not in BUILT:
        with torch.device("meta"):
            BUILT[key] = build_model(cfg)
    return BUILT[key]


def leaf(dataset: str, name: str) -> Path:
    return CONFIGS / dataset / f"{name}.yaml"


def header(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    return " ".join(line.lstrip("# ") for line in lines if line.startswith("#"))


def test_every_data_set_has_every_row_of_table_2_and_har_lookup(shared):
    rows = list(csv.DictReader((shared / "paper" / "tables" / "table02_musclemap136.csv").open(encoding="utf-8")))
    assert [row["model"] for row in rows] == list(ROWS)

    def rule(dataset):
        for row, names in ROWS.items():
            assert f'row "{row}"' in header(leaf(dataset, names[dataset not in PAPERS]))
        lookup = load_cfg(leaf(dataset, "har_lookup"))
        given = (lookup.TASK, lookup.MODEL.LOSS_FUNC, lookup.MODEL.MODEL_NAME, lookup.MODEL.NUM_CLASSES)
        assert given == ("har_lookup", "cross_entropy", "MViT", ACTIVITIES[dataset])

    assert_each(rule, {dataset: dataset for dataset in ACTIVITIES})


@pytest.mark.parametrize("protocol", ["paper", "authors_code"])
def test_every_config_loads_plans_and_builds(protocol, tmp_path):
    def rule(path):
        runs = plan([str(path)], ["PROTOCOL", protocol, "RUNS_DIR", str(tmp_path)])
        assert runs[-1].name == path.stem
        for run in runs:
            assert protocol == run.cfg.PROTOCOL
            names = [name for name, _ in built(run.cfg).named_parameters()]
            for start in run.cfg.TRAIN.CHECKPOINT_ALLOW:
                assert any(name.startswith(start) for name in names), f"{start} is no parameter of {run.name}"
            if run.cfg.INIT.TEACHER_FROM:
                teacher = next(other for other in runs if str(other.final_checkpoint) == run.cfg.INIT.TEACHER_FROM)
                check_teacher(run.cfg, teacher.cfg, teacher.name)

    assert_each(rule, LEAVES)


def test_every_leaf_has_a_header_and_is_short():
    def rule(path):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith("# ")
        # A command that names the file itself.
        assert f"#   python tools/run_net.py --cfg configs/{path.relative_to(CONFIGS).as_posix()}" in lines
        assert len([line for line in lines if line and not line.startswith("#")]) <= 25
        assert max(map(len, lines)) <= 120

    assert_each(rule, LEAVES)


def test_every_full_size_header_gives_the_papers_figures(shared):
    def rule(path):
        text = header(path)
        if "Not in the paper's tables" in text:
            assert "table" not in text.replace("tables", "")
            return
        number, row = re.search(r'[Tt]able (\d+)[^"]*row "([^"]+)"', text).groups()
        given = tuple(re.search(rf"\b{column} ([\d.]+)", text)[1].rstrip(".") for column in COLUMNS)
        title, name = PAPERS[path.parent.name]
        assert number != "2" or f"table 2 ({title})" in text
        [table] = (shared / "paper" / "tables").glob(f"{name if number == '2' else f'table{int(number):02d}_*'}.csv")
        rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
        [found] = [found for found in rows if tuple(found[column] for column in COLUMNS) == given]
        # Table 3 names its rows by what is switched on.
        switched_on = [key.upper() for key, value in found.items() if key.startswith("mct") and value == "1"]
        assert row in found.values() or [row.upper()] == switched_on

    assert_each(rule, FULL_SIZE)


def test_all_rows_see_the_same_span_of_a_video_at_one_size():
    def rule(name):
        data = load_cfg(leaf("MuscleMap136", name)).DATA
        assert (data.NUM_FRAMES * data.SAMPLING_RATE, data.TRAIN_CROP_SIZE, data.TEST_CROP_SIZE) == (64, 224, 224)

    assert_each(rule, {name: name for name, _ in ROWS.values()})


def test_what_a_benchmark_leaf_says_differs_in_the_data_set_alone():
    alike = [names[0] for names in ROWS.values()] + ["mcts_rgb_s", "mcts_rgb_diff_s", "mcts_rgb_b", "mcts_rgb_diff_b"]
    of_data = ("TRAIN.DATASET", "DATA.PATH_TO_DATA_DIR", "INIT.STUDENT_FROM", "INIT.TEACHER_FROM")
    for name in alike:
        first, *others = (all_keys(load_cfg(leaf(dataset, name))) for dataset in PAPERS)
        for other in others:
            assert {key for key in first if first[key] != other[key]} <= set(of_data), name


def test_the_small_backbone_is_the_defaults_and_the_base_one_is_deeper():
    small, base = (load_cfg(leaf("MuscleMap136", f"mcts_rgb_{size}")) for size in "sb")
    assert {key: small.MVIT[key] for key in SIZES} == {key: get_cfg().MVIT[key] for key in SIZES}
    assert (base.MVIT.DEPTH, base.MVIT.DROPPATH_RATE, base.DATA.NUM_FRAMES) == (24, 0.3, 16)


def test_the_schedules_are_the_papers():
    small = {
        p.stem: load_cfg(p) for p in FULL_SIZE.values() if p.parent.name == "MuscleMap136" and p.stem.endswith("_s")
    }
    stage_2 = ("transm3e_s", "deit_s", "logits_kd_s")
    assert {name: cfg.SOLVER.MAX_EPOCH for name, cfg in small.items()} == dict.fromkeys(stage_2, 10) | dict.fromkeys(
        ("mcts_flow_s", "mcts_rgb_s", "mcts_rgb_diff_s", "mvitv2_s", "two_branch_s", "videoswin_s"), 40
    )
    cfg = small["transm3e_s"]
    assert (cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.BASE_LR, cfg.SOLVER.WEIGHT_DECAY) == (10, 1e-4, 0.05)
    assert (cfg.TRAIN.BATCH_SIZE // cfg.NUM_GPUS, cfg.AUG.NUM_SAMPLE, cfg.SOLVER.CLIP_GRAD_L2NORM) == (16, 2, 1.0)


@pytest.mark.parametrize(
    ("name", "file"),
    [("mcts_rgb_s", "MViTv2_S_in1k.pyth"), ("mvitv2_b", "MViTv2_B_in1k.pyth"), ("c2d_r50", "resnet50_in1k.pth")],
)
def test_missing_image_weights_are_an_error_that_names_them(name, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    device = torch.device("meta")
    with device, pytest.raises(UserError, match=re.escape(f"weights/{file}")):
        build_task(load_cfg(leaf("MuscleMap136", name)), device)


def test_training_from_scratch_is_one_option_for_one_stage_and_for_both():
    scratch = ["TRAIN.CHECKPOINT_FILE_PATH", ""]
    assert load_cfg(leaf("MuscleMap136", "mcts_rgb_s"), scratch).TRAIN.CHECKPOINT_FILE_PATH == ""
    runs = plan([str(leaf("MuscleMap136", "transm3e_s"))], ["INIT.OPTS", str(scratch)])
    assert [run.cfg.TRAIN.CHECKPOINT_FILE_PATH for run in runs] == [""] * 3
