"""Every key says all about itself where it is declared: its rule, its meaning, its reference, and nothing elsewhere."""

import ast
import csv
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from transm3e.config import get_cfg
from transm3e.config.check import check_cfg
from transm3e.config.node import all_keys
from transm3e.config.schema import ABOVE_0, BELOW_1, COUNT, DEPTH, KEYS, NOT_NEGATIVE, SAME, SEED, SHARE, reference
from transm3e.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
# Collections of settings, not of facts about keys: what to lower when out of memory; what scoring from Python and the page
# set; what tables set for their rows. Of
# registries, which names are registered where.
SETTINGS = (
    "engine/settings.py",
    "inference/predictor.py",
    "web/scoring.py",
    "tables/read.py",
    "tables/scale.py",
    "registry.py",
)


def with_rule(*rules):
    found = [each for each in KEYS.values() if each.rule in rules]
    assert found
    return found


def lists(beginning):
    found = [each for each in KEYS.values() if each.rule and each.rule.allowed.startswith(beginning)]
    assert found
    return found


def test_every_key_has_a_meaning_and_a_default_that_it_allows():
    assert all_keys(get_cfg()) == {name: each.default for name, each in KEYS.items()}
    for each in KEYS.values():
        assert each.meaning.endswith("."), each.name
        assert each.rule is None or each.rule.fault(each.default) == "", each.name


def test_a_message_names_the_key_its_value_and_what_is_allowed():
    cfg = get_cfg()
    cfg.TRAIN.BATCH_SIZE = 0
    with pytest.raises(UserError, match=r"^TRAIN\.BATCH_SIZE is 0; it must be at least 1$"):
        check_cfg(cfg)


def test_a_choice_names_what_is_allowed():
    for each in (each for each in KEYS.values() if each.rule and each.rule.choices):
        wrong = ["nonsense"] if isinstance(each.default, list) else 99 if isinstance(each.default, int) else "nonsense"
        assert all(str(choice) in each.rule.fault(wrong) for choice in each.rule.choices), each.name


@pytest.mark.parametrize(
    ("rules", "value", "fault"),
    [
        ((COUNT, DEPTH), 0, "is 0; it must be at least 1"),
        ((COUNT,), 2**31, f"is {2**31}; it must be at most {2**31 - 1}"),
        ((DEPTH,), 1001, "is 1001; it must be at most 1000"),
        ((NOT_NEGATIVE, SEED), -1, "is -1; it must not be negative"),
        ((ABOVE_0,), 0.0, "is 0.0; it must be above 0"),
        ((SHARE,), -0.1, "is -0.1; it must be from 0 to 1"),
        ((SHARE,), 1.1, "is 1.1; it must be from 0 to 1"),
        ((BELOW_1,), -0.1, "is -0.1; it must be from 0 to below 1"),
        ((BELOW_1,), 1.0, "is 1.0; it must be from 0 to below 1"),
    ],
)
def test_numbers_have_their_bounds(rules, value, fault):
    for each in with_rule(*rules):
        assert each.rule.fault(value) == fault, each.name


def test_lists_of_numbers_have_their_length_and_kind():
    for each in (*lists("2 numbers"), *lists("3 numbers"), *lists("3 whole numbers")):
        default, whole = each.default, "whole numbers" in each.rule.allowed
        wrong = [[], default[:-1], [*default, 1], ["a"] * len(default), [[1]] * len(default), [-1] * len(default)]
        wrong += [[*default[:-1], number] for number in (1.5, 3.0, True)] if whole else []
        for value in wrong:
            kind = "whole numbers" if whole else "numbers"
            assert each.rule.fault(value).startswith(f"is {value}; it must be {len(default)} {kind}"), each.name


def test_lists_by_block_have_their_entries():
    for each in lists("an entry is a block's number"):
        good = each.default[0]
        wrong = [3, good[:-1], [*good, 1], [*good[:-1], 0], [-1, *good[1:]]]
        wrong += [[1, 1, 2, 2.5], [1, 1, 2.0, 2], [1.0, 1, 2, 2]] if "whole" in each.rule.allowed else []
        for entry in wrong:
            assert each.rule.fault([good, entry]) == f"holds {entry}; {each.rule.allowed}"


def test_pyslowfasts_defaults_are_its_own(shared):
    rows = list(csv.DictReader((shared / "pyslowfast" / "defaults.csv").open(encoding="utf-8")))
    theirs = {row["key"]: row["pyslowfast_default"] for row in rows if row["key"] in KEYS}
    theirs = {key: ast.literal_eval(text) for key, text in theirs.items()}
    assert len(theirs) > 50
    for name, default in theirs.items():
        default = list(default) if isinstance(default, tuple) else default
        each = KEYS[name]
        # None is off, which is 0 here.
        same = (
            each.theirs == default
            if each.theirs is not SAME
            else each.default in (default, 0.0 if default is None else default)
        )
        assert same, name
    # A key of ours declares what its code does, only where that differs.
    for name in KEYS.keys() - theirs.keys():
        assert KEYS[name].theirs != KEYS[name].default, name


def test_the_reference_finds_keys_by_name_and_by_meaning():
    everything = "\n".join(reference())
    assert all(f"{name} = {each.default!r}" in everything for name, each in KEYS.items())
    found = "\n".join(reference("warm-up"))
    assert "SOLVER.WARMUP_EPOCHS = 1.0  (0 or more)" in found
    assert "PROTOCOL authors_code: 30.0" in found
    assert "MVIT" not in found


@pytest.mark.parametrize(("pattern", "status"), [("solver.base_lr", 0), ("nonsense", 2)])
def test_the_command_line_prints_the_reference_without_torch(pattern, status):
    command = [sys.executable, "-X", "importtime", "tools/run_net.py", "--help-keys", pattern]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.returncode == status, run.stderr
    assert ("SOLVER.BASE_LR = 0.0001" in run.stdout) == (status == 0)
    assert " torch\n" not in run.stderr


def constants(*nodes):
    """What stands in the source as it is; lists and tuples of such as lists."""
    for node in nodes:
        try:
            value = ast.literal_eval(node) if node else None
        except ValueError:
            continue
        yield list(value) if isinstance(value, tuple) else value


def facts_in(node):
    """What a piece of source says about keys that their declarations say, or should."""
    if isinstance(node, ast.FunctionDef):
        # A chain of comparisons treats keys alike as a list does.
        compared = [part for each in ast.walk(node) if isinstance(each, ast.Compare) for part in ast.walk(each)]
        names = {part.value for part in compared if isinstance(part, ast.Constant) and part.value in KEYS}
        return [f"compares with {names}"] if len(names) > 2 else []
    listed = getattr(node, "elts", None) or (node.keys if isinstance(node, ast.Dict) else [])
    if not isinstance(listed, list):
        return []
    plain = [value for value in constants(*listed) if isinstance(value, str)]
    found = [f"lists {names}"] if len(names := KEYS.keys() & set(plain)) > 2 else []
    pairs = zip(node.keys, node.values, strict=True) if isinstance(node, ast.Dict) else pairwise(listed)
    for name, value in pairs:
        for key in (key for key in constants(name) if isinstance(key, str) and key in KEYS):
            if KEYS[key].default in list(constants(value)):
                found.append(f"repeats the default of {key}")
    if not isinstance(node, ast.Dict):
        rules = {name: set(each.rule.choices) for name, each in KEYS.items() if each.rule}
        found += [f"repeats what {name} allows" for name, values in rules.items() if values and values <= set(plain)]
    return found


@pytest.mark.parametrize(
    ("source", "fact"),
    [
        ('X = ("DATA.MEAN", "DATA.STD", "RNG_SEED")', "lists"),
        ('X = {"DATA.MEAN": 1, "DATA.STD": 2, "RNG_SEED": 3}', "lists"),
        ('def f(key):\n    return key == "DATA.MEAN" or key in ("DATA.STD", "RNG_SEED")', "compares"),
        ('X = {"SOLVER.MOMENTUM": 0.9}', "repeats the default"),
        ('X = ["DATA.MEAN", (0.45, 0.45, 0.45)]', "repeats the default"),
        ('HOLD, LOOP = "hold", "loop"', "repeats what DATA.SHORT_CLIPS allows"),
    ],
)
def test_a_fact_about_a_key_is_found(source, fact):
    assert any(each.startswith(fact) for node in ast.walk(ast.parse(source)) for each in facts_in(node))


def test_nothing_else_says_what_a_key_is():
    """Not which keys are treated alike (3 or more together), nor their defaults and allowed values."""
    found = []
    for file in sorted((ROOT / "transm3e").rglob("*.py")):
        if file.name.startswith("keys_") or str(file.relative_to(ROOT / "transm3e")) in SETTINGS:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            found += [f"{file}:{node.lineno} {fact}" for fact in facts_in(node)]
    assert found == []
