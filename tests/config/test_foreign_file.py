"""PROTOCOL pyslowfast: files written with PySlowFast's keys mean here what they mean there, key by key."""

import ast
import csv
import logging
from contextlib import suppress
from pathlib import Path

import pytest

from tests.each import assert_each
from transm3e.config import get_cfg, load_cfg
from transm3e.config.foreign_file import is_foreign
from transm3e.config.node import all_keys, file_settings
from transm3e.config.schema import KEYS, PLACE, default_of, get
from transm3e.config.tables import protocol_tables
from transm3e.errors import UserError

ASSETS = Path(__file__).parents[1] / "assets"
CONFIGS = Path(__file__).parents[2] / "configs"
REFUSED = {
    "Kinetics_MVIT_B_16x4_CONV": "MVIT.SEP_POS_EMBED is True",
    "SSv2_SLOWFAST_16x8_R50_multigrid": "MULTIGRID.SHORT_CYCLE is True",
}
ALONE = [file for file in sorted(ASSETS.glob("*.yaml")) if not file.stem.startswith("transmmme")]
FILES = {f.stem: f for f in [*ALONE, *sorted(ASSETS.glob("pyslowfast/*.yaml"))] if f.stem not in REFUSED}
# What PySlowFast uses where a file does not set the key: its defaults, and what its code does where it has no such key.
THERE = {
    "AUG.ENABLE": False,
    "AUG.ORDER": "augment_first",
    "AUG.RE_NOISE": "normal",
    "AUG.SAMPLE_DISTANCE": 0,
    "AUG.USE_COLOR_JITTER": False,
    "BN.USE_PRECISE_STATS": False,
    "BN.WEIGHT_DECAY": 0.0,
    "DATA.FRAME_INDICES": "linspace",
    "DATA.INV_UNIFORM_SAMPLE": False,
    "DATA.REVERSE_INPUT_CHANNEL": False,
    "DATA.TEST_CROP_SIZE": 256,
    "DATA.TEST_SCALE": -1,
    "DATA.TRAIN_JITTER_SCALES": [256, 320],
    "DATA.TRAIN_JITTER_SCALES_RELATIVE": [],
    "DATA.USE_OFFSET_SAMPLING": False,
    "MODEL.HEAD_ACT": "softmax",
    "MODEL.LOSS_FUNC": "cross_entropy",
    "MODEL.MODEL_NAME": "SlowFast",
    "RESNET.ZERO_INIT_FINAL_BN": False,
    "RNG_SEED": 1,
    "SOLVER.CLIP_GRAD_L2NORM": 0.0,
    "SOLVER.CLIP_GRAD_VAL": 0.0,
    "SOLVER.COSINE_AFTER_WARMUP": False,
    "SOLVER.COSINE_END_LR": 0.0,
    "SOLVER.DAMPENING": 0.0,
    "SOLVER.LAYER_DECAY": 1.0,
    "SOLVER.LR_POLICY": "cosine",
    "SOLVER.NESTEROV": True,
    "SOLVER.OPTIMIZING_METHOD": "sgd",
    "SOLVER.WEIGHT_DECAY": 1e-4,
    "SOLVER.ZERO_WD_1D_PARAM": False,
    "TEST.NUM_ENSEMBLE_VIEWS": 10,
    "TEST.NUM_SPATIAL_CROPS": 3,
    "TEST.VIEWS_FROM": "shares",
    "TRAIN.EVAL_PERIOD": 10,
}
# Loaders of images: BGR reversed is RGB; frames of equal parts, or by stride with views up to the end.
IMAGES = {"DATA.REVERSE_INPUT_CHANNEL": False}
LOADERS = {
    "SSv2": {**IMAGES, "DATA.FRAME_INDICES": "segments"},
    "Charades": {**IMAGES, "DATA.FRAME_INDICES": "stride", "TEST.VIEWS_FROM": "spread"},
}


def literal(value):
    with suppress(ValueError, SyntaxError):
        value = ast.literal_eval(value) if isinstance(value, str) else value
    return list(value) if isinstance(value, tuple) else value


def given(file):
    return {key: literal(value) for _, key, value in file_settings(file)}


def test_the_files_have_the_values_that_pyslowfast_has():
    def rule(name):
        cfg, set_there = load_cfg(FILES[name], ["PROTOCOL", "pyslowfast"]), given(FILES[name])
        expected = {**THERE, **{key: value for key, value in set_there.items() if key in all_keys(get_cfg())}}
        expected |= LOADERS.get(name.partition("_")[0], {})
        expected.pop("OUTPUT_DIR"), expected.pop("TASK", None)
        assert {key: get(cfg, key) for key in expected} == expected

    assert len(FILES) >= 14
    assert_each(rule, {name: name for name in FILES})


def test_the_protocols_table_is_pyslowfasts_own(shared):
    rows = csv.DictReader((shared / "pyslowfast" / "defaults.csv").open(encoding="utf-8"))
    known = {row["key"]: literal(row["pyslowfast_default"]) for row in rows}
    for name, each in KEYS.items():
        # A value of None is off, or is set by every file of a model that reads it.
        if known.get(name) not in (None, "") and each.facts.role is not PLACE:
            assert default_of(each, "pyslowfast") == known[name], name


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_built_is_refused_in_one_line(name):
    with pytest.raises(UserError) as caught:
        load_cfg(ASSETS / "pyslowfast" / f"{name}.yaml", ["PROTOCOL", "pyslowfast"])
    assert REFUSED[name] in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "setting",
    ["SOLVER.LARS_ON True", "DETECTION.ENABLE True", "MASK.ENABLE True", "TASK ssl", "MVIT.REV.ENABLE True"],
)
def test_keys_that_change_a_result_are_never_without_effect(setting):
    with pytest.raises(UserError, match=setting.split()[0].replace(".", r"\.")):
        load_cfg(FILES["Kinetics_SLOW_4x16_R50"], setting.split())


def warnings_of(caplog, file, *opts):
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        load_cfg(file, opts)
    return [message for message in caplog.messages if "is a config of PySlowFast" in message]


def test_a_file_without_a_protocol_gets_one_warning_of_what_differs_for_it(caplog):
    [told] = warnings_of(caplog, FILES["Kinetics_SLOW_4x16_R50"])
    assert "PROTOCOL pyslowfast" in told
    assert "TEST.NUM_ENSEMBLE_VIEWS 10 (5)" in told
    assert "AUG.ENABLE False (True)" in told
    # It sets these, and its model does not read the others'.
    for key in ("SOLVER.BASE_LR ", "MODEL.MODEL_NAME", "MVIT.", "OUTPUT_DIR"):
        assert key not in told
    for protocol in ("pyslowfast", "paper", "authors_code"):
        assert warnings_of(caplog, FILES["Kinetics_SLOW_4x16_R50"], "PROTOCOL", protocol) == []


def test_none_of_our_configs_is_taken_for_one_of_pyslowfast(caplog):
    for file in CONFIGS.glob("*/*.yaml"):
        assert not ("MODEL" in file.read_text() and is_foreign([key for _, key, _ in file_settings(file)])), file
    assert not is_foreign(list(all_keys(get_cfg())))


def test_a_key_given_twice_counts_as_it_does_there_in_foreign_files_only(tmp_path, caplog):
    file = tmp_path / "a.yaml"
    text = FILES["Kinetics_SLOW_4x16_R50"].read_text()
    file.write_text(text.replace("  BASE_LR: 0.1\n", "  BASE_LR: 0.1\n  BASE_LR: 0.25\n"))
    with caplog.at_level(logging.WARNING):
        assert load_cfg(file, ["PROTOCOL", "pyslowfast"]).SOLVER.BASE_LR == 0.25
    assert any("SOLVER.BASE_LR is given twice" in message for message in caplog.messages)
    file.write_text("SOLVER: {BASE_LR: 0.1, BASE_LR: 0.25}\n")
    with pytest.raises(UserError, match="given twice"):
        load_cfg(file)


@pytest.mark.parametrize(
    ("dataset", "reverse", "bgr"), [("ssv2", True, False), ("ssv2", None, True), ("kinetics", True, True)]
)
def test_its_loaders_of_images_read_bgr(tmp_path, dataset, reverse, bgr):
    file = tmp_path / "a.yaml"
    text = FILES["Kinetics_SLOW_4x16_R50"].read_text().replace("DATASET: kinetics", f"DATASET: {dataset}")
    file.write_text(
        text.replace("DATA:\n", f"DATA:\n  REVERSE_INPUT_CHANNEL: {reverse}\n" if reverse else "DATA:\n", 1)
    )
    assert load_cfg(file, ["PROTOCOL", "pyslowfast"]).DATA.REVERSE_INPUT_CHANNEL is bgr


def test_the_authors_file_trains_with_augmentation_and_says_so(caplog):
    with caplog.at_level(logging.WARNING):
        assert load_cfg(ASSETS / "transmmme_s.yaml", ["PROTOCOL", "authors_code"]).AUG.ENABLE
        load_cfg(ASSETS / "transmmme_s.yaml", ["PROTOCOL", "authors_code", "AUG.ENABLE", "False"])
    [told] = [message for message in caplog.messages if "AUG.ENABLE" in message]
    assert "wins over PROTOCOL authors_code" in told


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["DATA.TRAIN_JITTER_SCALES_RELATIVE", "[]"], "give both, or"),
        (["DATA.TEST_SCALE", "200"], "TEST_CROP_SIZE 224 cannot be cropped"),
        (["PROTOCOL", "pyslowfast", "DATA.TRAIN_CROP_SIZE", "300"], "does not fit into frames of 256 pixels"),
        (["SOLVER.OPTIMIZING_METHOD", "sgd", "SOLVER.DAMPENING", "0.1"], "Nesterov momentum has none"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(tmp_path, opts, message):
    (tmp_path / "a.yaml").write_text("MODEL: {MODEL_NAME: VideoSwin}\n")
    with pytest.raises(UserError, match=message):
        load_cfg(tmp_path / "a.yaml", opts)


def test_a_file_of_mvitv1_by_what_it_leaves_out_is_refused(tmp_path):
    text = FILES["MVITv2_S_16x4"].read_text()
    (tmp_path / "a.yaml").write_text(text.replace("  RESIDUAL_POOLING: True\n", ""))
    with pytest.raises(UserError, match=r"a\.yaml: MVIT\.RESIDUAL_POOLING is not set, which is False in PySlowFast"):
        load_cfg(tmp_path / "a.yaml", ["PROTOCOL", "pyslowfast"])


@pytest.mark.parametrize(("ours", "theirs"), [("mvitv2_s", "MVITv2_S_16x4"), ("slowfast_r50", "SLOWFAST_8x8_R50")])
def test_our_configs_of_kinetics_are_pyslowfasts(ours, theirs):
    one, other = load_cfg(CONFIGS / "Kinetics400" / f"{ours}.yaml"), load_cfg(FILES[theirs], ["PROTOCOL", "pyslowfast"])
    assert one.PROTOCOL == "pyslowfast"
    differ = {
        name for name, each in KEYS.items() if each.facts.role is not PLACE and get(one, name) != get(other, name)
    }
    # Where the data are and their split, mixed precision, and the same in other words.
    known = {"DATA.PATH_TO_DATA_DIR", "DATA.TARGET", "TEST.SPLITS", "TRAIN.MIXED_PRECISION", "MODEL.ARCH"}
    assert differ <= known | {"RESNET.NUM_BLOCK_TEMP_KERNEL"}


def test_the_file_of_protocols_is_up_to_date():
    text = (CONFIGS / "PROTOCOLS.md").read_text(encoding="utf-8")
    assert text == protocol_tables(), "python -m transm3e.config.tables > configs/PROTOCOLS.md"
