"""Malicious YAML and JSON: a few lines that expand beyond any memory, or take years to read."""

import pytest

from tests.security.limits import LITTLE, bounded, write
from transm3e.config import load_cfg
from transm3e.data.decode import DecodeError
from transm3e.data.skeleton import read_skeleton
from transm3e.errors import UserError
from transm3e.foreign.yaml_text import parse_yaml
from transm3e.runs.results import read_results
from transm3e.tables.read import read_table

ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}\n" for i in range(1, 12))
YAML_BOMBS = {
    "aliases": ALIASES + "RNG_SEED: *a11\n",
    "mappings": ALIASES.replace("[x, x, x, x, x, x, x, x, x, x]", "{x: 1}")
    .replace("[*", "{p: [*")
    .replace("]\n", "]}\n"),
    "merges": MERGES,
    "itself": "RNG_SEED: &a [*a]\n",
    "chain": "".join(f"a{i}: &a{i} [{f'*a{i - 1}' if i else ''}]\n" for i in range(5000)),
    "lists": "RNG_SEED: " + "[" * 50_000,
    "dicts": "RNG_SEED: " + "{a: " * 50_000,
    "indentation": "".join(" " * i + f"k{i}:\n" for i in range(600)),
    "digits": "RNG_SEED: " + "9" * 100_000,
    "hexadecimal": "RNG_SEED: 0x" + "f" * 5000,
    "text in hexadecimal": f'RNG_SEED: "0x{"f" * 5000}"',
    "sexagesimal": "SOLVER.BASE_LR: 1" + ":1" * 5000 + ".5",
    "length": "A: " + "x" * 10**6,
    "depth of the network": "MODEL: {MODEL_NAME: MViT}\nMVIT: {DEPTH: 2147483647, NUM_HEADS: 1, DIM_MUL: [], HEAD_MUL: []}",
}


@pytest.mark.parametrize("name", YAML_BOMBS)
def test_a_yaml_bomb_is_one_error(name, tmp_path):
    file = write(tmp_path / "a.yaml", YAML_BOMBS[name])
    for read in (load_cfg, read_table):
        with pytest.raises(UserError) as caught, bounded(10, LITTLE):
            read(file)
        assert len(str(caught.value)) < 2000


@pytest.mark.parametrize(
    "text", [r'_BASE_: "\0"', r'_BASE_: ["\uD800.yaml"]', r'OUTPUT_DIR: "a\0b"', r'INIT.TEACHER_FROM: "a\nb"']
)
def test_impossible_file_names_are_refused(text, tmp_path):
    with pytest.raises(UserError, match=r"a\.yaml: \S+ is .*(a file name|without line ends)"):
        load_cfg(write(tmp_path / "a.yaml", text + "\n"))


def test_harmless_yaml_with_many_aliases_is_read():
    assert parse_yaml("a: &a [1, 2]\nb: {c: *a, d: *a}\ne: &e {f: 1}\ng: {<<: *e, h: 2}\n", "here") == {
        "a": [1, 2],
        "b": {"c": [1, 2], "d": [1, 2]},
        "e": {"f": 1},
        "g": {"f": 1, "h": 2},
    }


def test_bases_that_double_with_every_file_are_refused(tmp_path):
    for i in range(40):
        write(tmp_path / f"{i}.yaml", f"_BASE_: [{i + 1}.yaml, {i + 1}.yaml]\n" if i < 39 else "RNG_SEED: 1\n")
    with pytest.raises(UserError, match="leads to more than 200 files; name each base once"), bounded(20, LITTLE):
        load_cfg(tmp_path / "0.yaml")


def test_a_grid_of_more_rows_than_atoms_is_refused(tmp_path):
    axes = "".join(f"  A.K{i}: [{', '.join(map(str, range(50)))}]\n" for i in range(40))
    file = write(tmp_path / "a.yaml", f"title: A\nconfig: c\ngrid:\n{axes}")
    with pytest.raises(UserError, match="combinations; allowed: 10000"), bounded(10, LITTLE):
        read_table(file)


@pytest.mark.parametrize(
    "content", ["[" * 10**6, '{"a":' * 10**6, "[" * 500 + "]" * 500, "9" * 10**6, '"' + '\\"' * 10**6]
)
def test_json_that_is_too_deep_or_too_long_is_one_error(content, tmp_path):
    file = write(tmp_path / "results.json", content)
    with pytest.raises(UserError, match=r"results\.json is damaged"), bounded(10, LITTLE):
        read_results(file)
    # The number alone is told apart before it is read.
    with pytest.raises(DecodeError), bounded(10, LITTLE):
        read_skeleton(write(tmp_path / "a.json", f"[{content}"))
