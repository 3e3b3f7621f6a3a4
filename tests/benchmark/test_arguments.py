"""Words of the command line."""

from __future__ import annotations

import pytest

from transm3e.benchmark.arguments import parse_args, settings_of

CFG = ["model", "--cfg", "a.yaml"]


def test_defaults():
    args = parse_args(CFG, None)
    settings = settings_of(args)
    assert (args.cfg, args.against, args.opts, args.out) == (["a.yaml"], None, [], "runs/benchmark")
    assert (settings.modes, settings.batch_sizes, settings.precision) == (("forward", "train"), (), "float32")


@pytest.mark.parametrize(
    "words",
    [
        [*CFG, "RNG_SEED", "1", "DATA.MEAN", "[0, 0, 0]", "--batch-sizes", "1", "2"],
        [*CFG, "--batch-sizes", "1", "2", "RNG_SEED", "1", "DATA.MEAN", "[0, 0, 0]"],
        [*CFG, "--batch-sizes", "1", "2", "--opts", "RNG_SEED", "1", "DATA.MEAN", "[0, 0, 0]"],
    ],
)
def test_settings_of_configs_may_stand_anywhere(words):
    args = parse_args(words, None)
    assert args.opts == ["RNG_SEED", "1", "DATA.MEAN", "[0, 0, 0]"]
    assert args.cfg == ["a.yaml"]
    assert settings_of(args).batch_sizes == (1, 2)


def test_key_and_value_in_one_word_and_a_folder_in_capitals():
    args = parse_args([*CFG, "AUG.NUM_SAMPLE=1", "--out", "OUT", "--modes", "train"], None)
    assert args.opts == ["AUG.NUM_SAMPLE=1"]
    assert args.out == "OUT"
    assert settings_of(args).modes == ("train",)


@pytest.mark.parametrize(
    "words", [[], ["model"], [*CFG, "--batch-sizes", "0"], [*CFG, "--memory-limit", "-1"], [*CFG, "--modes", "fly"]]
)
def test_wrong_words_end_with_status_2(words, capsys):
    with pytest.raises(SystemExit) as end:
        parse_args(words, None)
    assert end.value.code == 2
    assert "error:" in capsys.readouterr().err
