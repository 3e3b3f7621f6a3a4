"""Config files: bases, safe YAML, values as yacs reads them, unknown keys, and what has no effect."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transm3e.config import get_cfg
from transm3e.config.node import all_keys, file_settings, merge, merge_opts, names_key, text_settings
from transm3e.config.pyslowfast import BUILT_HERE, IGNORED
from transm3e.errors import UserError


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    return write


def merged(file):
    cfg = get_cfg()
    merge(cfg, file_settings(file), str(file))
    return cfg


def refused(file):
    with pytest.raises(UserError) as caught:
        merged(file)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_base_is_relative_to_its_file_and_the_file_wins(write):
    write("base/a.yaml", "SOLVER: {MAX_EPOCH: 3, BASE_LR: 0.5}\nRNG_SEED: 7\n")
    cfg = merged(write("configs/b.yaml", "_BASE_: ../base/a.yaml\nSOLVER: {MAX_EPOCH: 4}\n"))
    assert (cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.BASE_LR, cfg.RNG_SEED) == (4, 0.5, 7)


def test_bases_apply_in_order_and_chain(write):
    write("deep.yaml", "RNG_SEED: 1\nLOG_PERIOD: 1\nSOLVER: {MAX_EPOCH: 1}\n")
    write("one.yaml", "_BASE_: deep.yaml\nRNG_SEED: 2\nLOG_PERIOD: 2\n")
    write("two.yaml", "RNG_SEED: 3\n")
    cfg = merged(write("own.yaml", "_BASE_: [one.yaml, two.yaml]\n"))
    assert (cfg.RNG_SEED, cfg.LOG_PERIOD, cfg.SOLVER.MAX_EPOCH) == (3, 2, 1)


def test_one_base_reached_twice_is_no_circle(write):
    write("deep.yaml", "RNG_SEED: 1\n")
    write("one.yaml", "_BASE_: deep.yaml\n")
    write("two.yaml", "_BASE_: deep.yaml\n")
    assert merged(write("own.yaml", "_BASE_: [one.yaml, two.yaml]\n")).RNG_SEED == 1


def test_bases_in_a_circle_are_refused(write):
    write("x/a.yaml", "_BASE_: ../x/b.yaml\n")
    assert "_BASE_ is circular" in refused(write("x/b.yaml", "_BASE_: ../x/a.yaml\n"))


@pytest.mark.parametrize("base", ["5", "null", "{a: 1}", "[1, 2]", "[a.yaml, null]"])
def test_a_base_is_a_name_or_a_list_of_names(write, base):
    assert "a file name or a list" in refused(write("a.yaml", f"_BASE_: {base}\n"))


def test_a_missing_file_or_base_is_named(write, tmp_path):
    assert "gone.yaml" in refused(tmp_path / "gone.yaml")
    assert "lost.yaml" in refused(write("a.yaml", "_BASE_: lost.yaml\n"))


@pytest.mark.parametrize(
    "text",
    [
        "RNG_SEED: !!python/object/apply:os.getpid []",
        "OUTPUT_DIR: !!python/name:os.system",
        "RNG_SEED: [1",
        "OUTPUT_DIR: 2024-13-45",
        "RNG_SEED: !!bool x",
        "RNG_SEED: !!timestamp x",
        "[" * 5000,
        "a: 1\n---\na: 2",
    ],
)
def test_what_is_not_plain_yaml_is_refused(write, text):
    assert "not a YAML file of plain values" in refused(write("a.yaml", text))


@pytest.mark.parametrize("text", ["", "- 1\n", "text"])
def test_a_config_holds_keys(write, text):
    assert "KEY: value lines" in refused(write("a.yaml", text))


def test_a_file_that_is_not_text_is_refused(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_bytes(b"\xff\xfe\x00")
    assert "not a UTF-8 text file" in refused(file)


def test_a_key_given_twice_must_agree(write):
    twice = "SOLVER: {COSINE_AFTER_WARMUP: False, MAX_EPOCH: 3, COSINE_AFTER_WARMUP: %s}\n"
    assert merged(write("a.yaml", twice % "False")).SOLVER.COSINE_AFTER_WARMUP is False
    assert "SOLVER.COSINE_AFTER_WARMUP is given twice" in refused(write("b.yaml", twice % "True"))


def test_a_group_given_twice_loses_no_settings(write):
    assert "TRAIN is given twice" in refused(write("a.yaml", "TRAIN:\n  ENABLE: False\nTRAIN:\n  BATCH_SIZE: 4\n"))


@pytest.mark.parametrize(
    ("text", "key", "near"),
    [
        ("SOLVR: {BASE_LR: 1}", "SOLVR.BASE_LR", "SOLVER.BASE_LR"),
        ("SOLVER: {BASE_LRR: 1}", "SOLVER.BASE_LRR", "SOLVER.BASE_LR"),
        ("NUM_FRAMES: 8", "NUM_FRAMES", "DATA.NUM_FRAMES"),
        ("SOLVER: {MAX_EPOCH: {A: 1}}", "SOLVER.MAX_EPOCH.A", "SOLVER.MAX_EPOCH"),
        ("1: 2", "unknown key 1", "--help-keys"),
    ],
)
def test_an_unknown_key_is_named_with_its_file_and_the_nearest(write, text, key, near):
    message = refused(write("a.yaml", text))
    assert "a.yaml" in message
    assert key in message
    assert near in message.split("unknown key")[1]


def test_an_unknown_key_of_a_base_names_the_base(write):
    write("base.yaml", "NO_SUCH: 1\n")
    assert "base.yaml: unknown key NO_SUCH" in refused(write("a.yaml", "_BASE_: base.yaml\n"))


@pytest.mark.parametrize("text", ["SOLVER: 3", "SOLVER:"])
def test_a_group_is_no_value(write, text):
    assert "SOLVER is a group of keys" in refused(write("a.yaml", text))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("SOLVER: {MAX_EPOCH: 1.5}", "int"),
        ("SOLVER: {MAX_EPOCH: True}", "int"),
        ("SOLVER: {BASE_LR: True}", "float"),
        ("SOLVER: {BASE_LR: fast}", "float"),
        ("TRAIN: {ENABLE: 1}", "bool"),
        ("DATA: {MEAN: 0.5}", "list"),
        ("OUTPUT_DIR: [a]", "str"),
        ("OUTPUT_DIR: True", "str"),
        ("OUTPUT_DIR: 2024-01-05", "str"),
        ("RNG_SEED:", "int"),
    ],
)
def test_a_value_has_the_type_of_its_default(write, text, kind):
    assert f"but must be {kind}" in refused(write("a.yaml", text))


def test_words_in_brackets_are_a_list_without_quotes_too():
    for text in ("[known_val]", "[known_val, new_val]", "['known_val','new_val']"):
        cfg = get_cfg()
        merge_opts(cfg, ["TEST.SPLITS", text])
        assert cfg.TEST.SPLITS[0] == "known_val"
    with pytest.raises(UserError, match=r"TEST\.SPLITS is '\[known_val' \(str\), but must be list"):
        merge_opts(get_cfg(), ["TEST.SPLITS", "[known_val"])


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan", "1" * 400])
def test_numbers_are_finite(write, value):
    message = refused(write("a.yaml", f"SOLVER: {{BASE_LR: {value}}}"))
    assert "SOLVER.BASE_LR is " in message
    assert message.endswith("it must be a finite number")
    for text in (f"DATA: {{STD: [0.2, {value}, 0.2]}}", f"MVIT: {{DIM_MUL: [[1, 2.0], [3, {value}]]}}"):
        assert refused(write("a.yaml", text)).endswith("it must be finite numbers")


def test_options_are_finite_too():
    for opts in (["MVIT.DIM_MUL", "[[1, 1e999]]"], ["DATA.MEAN", (0.1, -1e999, 0.1)], ["RNG_SEED", "1e999"]):
        with pytest.raises(UserError, match=rf"^command line: {opts[0]} is .*inf.*finite number"):
            merge_opts(get_cfg(), opts)


@pytest.mark.parametrize(
    ("key", "given", "value"),
    [
        ("SOLVER.BASE_LR", "1e-6", 1e-6),
        ("SOLVER.BASE_LR", 1, 1.0),
        ("SOLVER.MAX_EPOCH", "12", 12),
        ("MVIT.PATCH_KERNEL", "(3, 7, 7)", [3, 7, 7]),
        ("MVIT.DIM_MUL", "((1, 2.0), (3, 2.0))", [[1, 2.0], [3, 2.0]]),
        ("TRAIN.ENABLE", "False", False),
        ("TRAIN.ENABLE", "false", False),
        ("TRAIN.AUTO_RESUME", "true", True),
        ("OUTPUT_DIR", None, ""),
        ("OUTPUT_DIR", "'quoted'", "quoted"),
        ("OUTPUT_DIR", 7, "7"),
        ("OUTPUT_DIR", "2024_01_05", "2024_01_05"),
        ("OUTPUT_DIR", "1e5", "1e5"),
        ("OUTPUT_DIR", "1e999", "1e999"),
        ("OUTPUT_DIR", "", ""),
    ],
)
def test_values_are_decoded_as_yacs_does(key, given, value):
    cfg = get_cfg()
    merge_opts(cfg, [key, given]) if given is not None else merge(cfg, text_settings(f"{key}:", "text"), "text")
    got = all_keys(cfg)[key]
    assert got == value
    assert type(got) is type(value)


def test_opts_come_as_pairs_or_with_an_equals_sign():
    cfg = get_cfg()
    merge_opts(cfg, ["RNG_SEED", "3", "SOLVER.BASE_LR=1e-2", "OUTPUT_DIR", "a=b", "TEST.SPLITS", ["new_val"]])
    assert (cfg.RNG_SEED, cfg.SOLVER.BASE_LR, cfg.OUTPUT_DIR, cfg.TEST.SPLITS) == (3, 0.01, "a=b", ["new_val"])


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["RNG_SEED"], "'RNG_SEED' has no value"),
        (["RNG_SEED", "1", "LOG_PERIOD"], "'LOG_PERIOD' has no value"),
        (["RNG_SED=1"], "unknown key RNG_SED; did you mean RNG_SEED"),
        (["--shard_id", "1"], "unknown key --shard_id"),
        (["RNG_SEED=x"], "command line: RNG_SEED is 'x'"),
    ],
)
def test_wrong_opts_are_refused(opts, message):
    with pytest.raises(UserError) as caught:
        merge_opts(get_cfg(), opts)
    assert message in str(caught.value)


def test_pyslowfast_keys_without_effect_give_one_warning(write, caplog):
    write("base.yaml", "BN: {NUM_SPLITS: 2, NUM_SYNC_DEVICES: 1}\nSOLVER: {GAMMA: 0.1}\n")
    file = write("a.yaml", "_BASE_: base.yaml\nMVIT: {MODE: conv, DEPTH: 3}\nSOLVER: {GAMMA: 0.1}\n")
    with caplog.at_level(logging.WARNING):
        assert merged(file).MVIT.DEPTH == 3
    [record] = caplog.records
    named = record.getMessage().split("here: ")[1].split(", ")
    assert named == ["BN.NUM_SPLITS", "BN.NUM_SYNC_DEVICES", "SOLVER.GAMMA"]


def test_pyslowfast_keys_without_effect_are_accepted_as_options_too(caplog):
    cfg = get_cfg()
    with caplog.at_level(logging.WARNING):
        merge_opts(cfg, ["SOLVER.GAMMA", "0.5", "BN.NUM_SPLITS=2", "RNG_SEED", 3, "TEST.SAVE_RESULTS_PATH", "x"])
    assert cfg.RNG_SEED == 3
    [message] = caplog.messages
    assert message.split("here: ")[1].split(", ") == ["SOLVER.GAMMA", "BN.NUM_SPLITS", "TEST.SAVE_RESULTS_PATH"]


def test_keys_that_choose_another_network_are_refused_and_mvitv2s_are_accepted(write, caplog):
    for key, built in BUILT_HERE.items():
        other = {"conv": "avg", "layernorm": "batchnorm"}.get(str(built), 0.1 if built == 0.0 else [[0, 1, 8, 8]])
        other = not built if isinstance(built, bool) else other
        with pytest.raises(UserError) as caught:
            merge_opts(get_cfg(), [key, other])
        assert str(caught.value).startswith(f"command line: {key} is {other}, but only {built} is implemented")
        merge_opts(get_cfg(), [key, built])
    # They are not without effect: they have the effect that they must have.
    assert not caplog.messages
    file = write("mvit_v1.yaml", "MVIT: {RESIDUAL_POOLING: 'False'}\n")
    assert f"{file}: MVIT.RESIDUAL_POOLING is False, but only True is implemented" in refused(file)
    assert merged(write("unset.yaml", "MVIT: {POOL_KV_STRIDE: , MODE: }\n")) == get_cfg()


def test_what_is_built_here_is_no_key_of_ours():
    assert [key for key in BUILT_HERE if not names_key(IGNORED, key)] == []


def test_no_key_of_ours_is_ignored_not_even_within_an_ignored_group(monkeypatch):
    assert [key for key in all_keys(get_cfg()) if names_key(IGNORED, key)] == []
    monkeypatch.setattr("transm3e.config.node.IGNORED", ("SOLVER.",))
    cfg = get_cfg()
    merge_opts(cfg, ["SOLVER.MAX_EPOCH", 3, "SOLVER.OTHER", 4])
    assert cfg.SOLVER.MAX_EPOCH == 3


def test_a_misspelt_key_in_a_group_that_pyslowfast_has_too_stays_an_error():
    for key in ("TENSORBOARD.ENABEL", "DEMO.INPUT_VIDEOS", "MVIT.DEPHT", "TEST.NUM_VIEWS"):
        with pytest.raises(UserError, match=f"unknown key {key}"):
            merge_opts(get_cfg(), [key, 1])


def test_names_key_knows_groups():
    assert names_key(("BN.", "RNG_SEED"), "BN.A.B")
    assert names_key(("BN.", "RNG_SEED"), "RNG_SEED")
    assert not names_key(("BN.", "RNG_SEED"), "BNX.A")
    assert not names_key(("BN.", "RNG_SEED"), "RNG_SEED_2")


def test_a_dumped_config_reads_back_the_same():
    cfg, again = get_cfg(), get_cfg()
    merge_opts(cfg, ["RNG_SEED", 3, "DATA.PATH_PREFIX", "1e5", "MVIT.DIM_MUL", [[0, 2.0]], "SOLVER.BASE_LR", 1e-9])
    merge(again, text_settings(cfg.dump(), "dump"), "dump")
    assert again == cfg


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"])))
def test_any_text_for_a_folder_is_kept_or_refused(text):
    cfg = get_cfg()
    try:
        merge_opts(cfg, ["OUTPUT_DIR", text])
    except UserError:
        return
    assert isinstance(cfg.OUTPUT_DIR, str)
