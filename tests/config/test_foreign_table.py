"""The list of PySlowFast's files in configs/README.md: what each is here."""

from __future__ import annotations

import ast
import csv
from pathlib import Path

import pytest
import yaml

from transm3e.benchmark.foreign_files import HEADER, foreign_table, result_of

ASSETS = Path(__file__).parents[1] / "assets"
README = (Path(__file__).parents[2] / "configs" / "README.md").read_text(encoding="utf-8")
TABLE = HEADER + README.partition(HEADER)[2].partition("\n\n")[0]
# File -> its result.
LISTED = {
    file: result
    for line in TABLE.splitlines()[2:]
    for result, files in [line.strip("| ").split(" | ")]
    for file in files.split(", ")
}
HERE = {
    f.stem: f for f in [*ASSETS.glob("pyslowfast/*.yaml"), *ASSETS.glob("*_R50.yaml"), *ASSETS.glob("MViTv2*.yaml")]
}


def test_at_least_45_of_its_files_load():
    assert sum(not result.startswith("refused") for result in LISTED.values()) >= 45


@pytest.mark.parametrize("stem", HERE)
def test_files_of_its_keys_are_what_the_list_says(stem):
    (name,) = (name for name in LISTED if name.replace("/", "_") in (stem, f"Kinetics_{stem}"))
    result, listed = result_of(HERE[stem]), LISTED[name]
    # Which of several wrong keys of a group comes first is the file's order.
    assert result == listed or (result.startswith("refused: ") and result.partition(".")[0] == listed.partition(".")[0])


def test_the_list_is_that_of_its_files(shared, tmp_path):
    for name, settings in _files(shared / "pyslowfast" / "files.csv").items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    assert foreign_table(tmp_path) == TABLE, "python -m transm3e.benchmark.foreign_files FOLDER"


def _files(facts: Path) -> dict[str, dict]:
    files: dict[str, dict] = {}
    for row in csv.DictReader(facts.open(encoding="utf-8")):
        # One of its files is no YAML.
        if not row["value"]:
            continue
        *groups, key = row["key"].split(".")
        node = files.setdefault(row["file"], {})
        for group in groups:
            node = node.setdefault(group, {})
        node[key] = ast.literal_eval(row["value"])
    return files
