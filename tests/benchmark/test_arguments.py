"""Words of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from transm3e.benchmark.arguments import loader_settings_of, parse_args, settings_of

CFG = ["model", "--cfg", "a.yaml"]


def test_defaults():
    args = parse_args(CFG, None)
    settings = settings_of(args)
    assert (args.cfg, args.against, args.opts, args.out) == (["a.yaml"], None, [], "runs/benchmark")
    assert (settings.modes, settings.batch_sizes, settings.precision) == (("forward", "train"), (), "float32")


def test_settings_of_configs_may_stand_anywhere():
    for words in [
        [*CFG, "RNG_SEED", "1", "DATA.MEAN", "[0, 0, 0]", "--batch-sizes", "1", "2"],
        [*CFG, "--batch-sizes", "1", "2", "RNG_SEED", "1", "DATA.MEAN", "[0, 0, 0]"],
        [*CFG, "--batch-sizes", "1", "2", "--opts", "RNG_SEED", "1", "DATA.MEAN", "[0, 0, 0]"],
    ]:
        args = parse_args(words, None)
        assert args.opts == ["RNG_SEED", "1", "DATA.MEAN", "[0, 0, 0]"]
        assert args.cfg == ["a.yaml"]
        assert settings_of(args).batch_sizes == (1, 2)


def test_key_and_value_in_one_word_and_a_folder_in_capitals():
    args = parse_args([*CFG, "AUG.NUM_SAMPLE=1", "--out", "OUT", "--modes", "train"], None)
    assert args.opts == ["AUG.NUM_SAMPLE=1"]
    assert args.out == "OUT"
    assert settings_of(args).modes == ("train",)


def test_loader_defaults():
    settings = loader_settings_of(parse_args(["loader"], None))
    assert settings.sizes == ((340, 256), (1280, 720))
    assert (settings.source, settings.workers, settings.against) == (None, (2,), ("pytorchvideo",))
    assert (settings.views, settings.resize) == (2, True)


def test_loader_on_own_files_only_or_beside_made_ones():
    words = ["loader", "--source", "CLIPS", "--against", "none", "--workers", "1", "4", "1", "--no-resize"]
    settings = loader_settings_of(parse_args(words, None))
    assert (settings.sizes, settings.source) == ((), Path("CLIPS"))
    assert (settings.workers, settings.against, settings.resize) == ((1, 4), (), False)
    assert loader_settings_of(parse_args([*words, "--files", "64x48"], None)).sizes == ((64, 48),)


def test_wrong_words_end_with_status_2(capsys):
    for words in [
        *([], ["model"], [*CFG, "--batch-sizes", "0"], [*CFG, "--memory-limit", "-1"], [*CFG, "--modes", "fly"]),
        *(["loader", "--files", size] for size in ("340", "341x256", "0x0", "-2x48", "64x48x3")),
        *(["loader", "--workers", "0"], ["loader", "DATA.NUM_FRAMES", "8"]),
    ]:
        with pytest.raises(SystemExit) as end:
            parse_args(words, None)
        assert end.value.code == 2
        assert "error:" in capsys.readouterr().err
