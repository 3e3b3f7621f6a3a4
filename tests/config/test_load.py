"""From a file to a frozen config; the reference projects' own settings load as they are (tests/assets)."""

import logging
from pathlib import Path

import pytest
import torch

from tests.each import assert_each
from transm3e.config import get_cfg, load_cfg
from transm3e.config.load import cfg_from_text
from transm3e.errors import UserError
from transm3e.models import build_model
from transm3e.models.registry import count_parameters

ASSETS = Path(__file__).parents[1] / "assets"
REFERENCES = sorted(file.stem for file in ASSETS.glob("*.yaml"))
# One command line: the authors' own file, evaluated from the authors' own checkpoint.
AUTHORS_STUDENT = (
    *("PROTOCOL", "authors_code", "TRANSM3E.RECEIVERS", "True", "TRANSM3E.FUSION", "mctf", "TRAIN.ENABLE", "False"),
    *("TEST.CHECKPOINT_FILE_PATH", "f.pyth", "TEST.CHECKPOINT_SOURCE", "authors"),
)


def test_options_beat_the_file_and_the_file_beats_the_defaults(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("RNG_SEED: 1\nLOG_PERIOD: 2\n")
    cfg = load_cfg(file, ["RNG_SEED", 3])
    assert (cfg.RNG_SEED, cfg.LOG_PERIOD, cfg.SOLVER.MAX_EPOCH) == (3, 2, 10)


def test_a_loaded_config_is_frozen_and_the_defaults_stay(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("MVIT: {DIM_MUL: [[0, 2.0]]}\n")
    cfg = load_cfg(file)
    with pytest.raises(AttributeError):
        cfg.RNG_SEED = 3
    with pytest.raises(AttributeError):
        cfg.SOLVER.MAX_EPOCH = 3
    cfg.MVIT.DIM_MUL.append([1, 2.0])
    assert get_cfg().MVIT.DIM_MUL == [[1, 2.0], [3, 2.0], [14, 2.0]]


def test_contradictions_are_refused_on_loading(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("NUM_GPUS: 3\n")
    with pytest.raises(UserError, match=r"TRAIN\.BATCH_SIZE 16 .* NUM_GPUS 3"):
        load_cfg(file)


def test_starting_weights_are_found_beside_the_config(tmp_path):
    (tmp_path / "stage1.yaml").write_text("RNG_SEED: 1\n")
    file = tmp_path / "a.yaml"
    file.write_text("INIT: {STUDENT_FROM: stage1.yaml}\n")
    assert Path(load_cfg(file).INIT.STUDENT_FROM) == tmp_path / "stage1.yaml"
    file.write_text("INIT: {STUDENT_FROM: runs/elsewhere.pyth}\n")
    assert load_cfg(file).INIT.STUDENT_FROM == "runs/elsewhere.pyth"


def test_a_config_comes_back_from_its_text():
    cfg = load_cfg(ASSETS / "transmmme_s.yaml")
    again = cfg_from_text(cfg.dump(), "a checkpoint")
    assert again == cfg
    assert again.is_frozen()
    with pytest.raises(UserError, match=r"^a checkpoint: unknown key RNG_SED"):
        cfg_from_text("RNG_SED: 1", "a checkpoint")
    with pytest.raises(UserError, match=r"^a checkpoint: "):
        cfg_from_text("", "a checkpoint")


def test_every_reference_config_loads_with_one_warning_of_ignored_keys(caplog):
    def rule(name):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            load_cfg(ASSETS / f"{name}.yaml")
        [ignored] = [message for message in caplog.messages if "without effect here" in message]
        assert "DATA.INPUT_CHANNEL_NUM" in ignored

    assert_each(rule, {name: name for name in REFERENCES})


def test_the_reference_configs_are_there():
    assert {"MVITv2_S_16x4", "MVITv2_B_32x3", "transmmme_s", "transmmme_b"} <= set(REFERENCES)
    assert {"C2D_8x8_R50", "I3D_8x8_R50", "SLOW_8x8_R50", "SLOWFAST_8x8_R50"} <= set(REFERENCES)


@pytest.mark.parametrize(("name", "parameters"), [("MVITv2_S_16x4", 34_245_524), ("MVITv2_B_32x3", 50_937_908)])
def test_the_reference_configs_build_models_of_the_reference_sizes(name, parameters):
    muscles, kinetics = (load_cfg(ASSETS / f"{name}.yaml", opts) for opts in (["MODEL.NUM_CLASSES", 20], []))
    assert count(muscles) == parameters
    assert count(kinetics) == parameters + 380 * (768 + 1)


@pytest.mark.parametrize(
    ("name", "opts", "parameters"),
    [("transmmme_s", (), 44_376_116), ("transmmme_b", ("MODEL.MODEL_NAME", "TransM3E"), 61_031_636)],
)
def test_the_authors_files_build_their_student_in_one_command_line(name, opts, parameters):
    cfg = load_cfg(ASSETS / f"{name}.yaml", [*AUTHORS_STUDENT, *opts])
    assert count(cfg) == parameters
    assert (cfg.TASK, cfg.MCTF.AUTHORS_VIEW, cfg.TEST.VIEWS_FROM, cfg.DATA.STD) == (
        "classify",
        True,
        "start",
        [1.0] * 3,
    )


def test_the_authors_file_alone_is_their_first_stage():
    cfg = load_cfg(ASSETS / "transmmme_s.yaml")
    assert (cfg.TASK, cfg.MODEL.MODEL_NAME, cfg.TRANSM3E.RECEIVERS) == ("classify", "TransM3E", False)


def count(cfg):
    with torch.device("meta"):
        return count_parameters(build_model(cfg))


def test_mvitv2_s_means_what_it_says():
    cfg = load_cfg(ASSETS / "MVITv2_S_16x4.yaml")
    assert cfg.MVIT.PATCH_KERNEL == [3, 7, 7]
    assert cfg.SOLVER.COSINE_END_LR == 1e-6
    assert cfg.SOLVER.BASE_LR == 1e-4
    assert (cfg.MODEL.NUM_CLASSES, cfg.MODEL.MODEL_NAME, cfg.MODEL.LOSS_FUNC) == (400, "MViT", "soft_cross_entropy")
    assert (cfg.NUM_GPUS, cfg.TEST.BATCH_SIZE, cfg.OUTPUT_DIR) == (8, 64, ".")
    # Its backbone is the default.
    assert get_cfg().MVIT == cfg.MVIT


def test_the_authors_warm_up_is_longer_than_their_training(caplog):
    with caplog.at_level(logging.WARNING):
        cfg = load_cfg(ASSETS / "transmmme_b.yaml")
    assert any("SOLVER.WARMUP_EPOCHS 30" in message for message in caplog.messages)
    assert (cfg.MVIT.DEPTH, cfg.OUTPUT_DIR) == (24, "")
