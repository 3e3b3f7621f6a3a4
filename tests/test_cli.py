"""The command line: PySlowFast's spellings, and one line with a status instead of a traceback."""

import subprocess
import sys

import pytest

from transm3e.cli import exit_with_message, parse_args
from transm3e.errors import ExitRequest, UserError


@pytest.mark.parametrize(
    ("words", "cfg", "opts"),
    [
        ("--cfg a.yaml", ["a.yaml"], []),
        ("--cfg a.yaml b.yml", ["a.yaml", "b.yml"], []),
        ("--cfg a.yaml --opts RNG_SEED 1 LOG_PERIOD=2", ["a.yaml"], ["RNG_SEED", "1", "LOG_PERIOD=2"]),
        ("--cfg a.yaml RNG_SEED 1", ["a.yaml"], ["RNG_SEED", "1"]),
        ("--cfg a.yaml b.yaml RNG_SEED=1", ["a.yaml", "b.yaml"], ["RNG_SEED=1"]),
        ("--cfg a.yaml SOLVER.BASE_LR -1", ["a.yaml"], ["SOLVER.BASE_LR", "-1"]),
        ("--cfg a.yaml INIT.TEACHER_FROM t.yaml", ["a.yaml"], ["INIT.TEACHER_FROM", "t.yaml"]),
        ("--cfg a.yaml --init_method tcp://h:1 RNG_SEED 1", ["a.yaml"], ["RNG_SEED", "1"]),
        ("--cfg a.yaml K 1 --opts L 2", ["a.yaml"], ["K", "1", "L", "2"]),
        ("--shard_id 1 --num_shards 2 --cfg a.yaml", ["a.yaml"], ["NUM_SHARDS", 2, "SHARD_ID", 1]),
        ("--cfg a.yaml --shard_id 0 --opts K 1", ["a.yaml"], ["K", "1", "SHARD_ID", 0]),
    ],
)
def test_configs_and_options_are_told_apart(words, cfg, opts):
    args = parse_args(words.split(), "")
    assert (args.cfg, args.opts) == (cfg, opts)


def test_flags():
    args = parse_args(["--cfg", "a.yaml", "--init_method", "tcp://h:1", "--print-config"], "")
    assert (args.init_method, args.print_config) == ("tcp://h:1", True)
    args = parse_args(["--cfg", "a.yaml"], "")
    assert (args.init_method, args.print_config) == ("", False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "--cfg"),
        ("--cfg", "--cfg"),
        ("--cfg RNG_SEED 1", "a config file ends in .yaml or .yml"),
        ("--cfg a.yaml --shards 2", "unknown option --shards"),
        ("--cfg a.yaml --num_shards two", "invalid int value"),
    ],
)
def test_a_wrong_command_line_ends_with_status_2(words, message, capsys):
    with pytest.raises(SystemExit) as caught:
        parse_args(words.split(), "")
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UserError("RNG_SEED is wrong"), 2, "error: RNG_SEED is wrong\n"),
        (ExitRequest("stopped", 143), 143, "stopped\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_the_user_reads_one_line(error, status, line, capsys):
    with pytest.raises(SystemExit) as caught, exit_with_message():
        raise error
    assert caught.value.code == status
    assert capsys.readouterr().err == line


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError), exit_with_message():
        raise ZeroDivisionError


def test_nothing_happens_without_an_error(capsys):
    with exit_with_message():
        pass
    assert capsys.readouterr() == ("", "")


def test_configs_and_the_command_line_need_no_torch():
    code = "import sys, transm3e.cli, transm3e.runs.plan, transm3e.registry; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
