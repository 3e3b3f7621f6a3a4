"""tools/make_table.py trains rows of the paper's tables by one command; `make test-tables` trains all of them."""

from __future__ import annotations

import csv
import re

from tests.clips import make_learnable_data
from tests.run_net import load_tool
from transm3e.report.table import COLUMNS

TABLES = [f"configs/tables/table{number:02d}.yaml" for number in (3, 6)]
# Beside the rows: stage 1 on RGB and on RGB difference, the same for all.
ROWS = {"table06": ["LateFusionSum", "DeiT"]}


def make_table(capsys, *words):
    """Call the tool on MuscleSynth's configs at their smallest; what it printed and said."""
    capsys.readouterr()
    assert load_tool("make_table").main([*TABLES, "--on", "MuscleSynth", "--scale", "tiny", *map(str, words)]) == 0
    return capsys.readouterr()


def test_rows_of_two_tables_are_trained_by_one_command(tmp_path, capsys):
    rows = [label for labels in ROWS.values() for label in labels]
    (tmp_path / "data").mkdir()
    words = ["--rows", *rows, "--out", tmp_path / "out", "--opts", "RUNS_DIR", tmp_path / "runs"]
    words += ["DATA.PATH_TO_DATA_DIR", make_learnable_data(tmp_path / "data", per_split=16)]
    done = make_table(capsys, *words)
    made = re.search(r"^(\d+) runs: \1 done", done.err, re.MULTILINE)
    assert made, done.err
    assert len(list((tmp_path / "runs").glob("*/results.json"))) == int(made[1]) > len(rows)
    for name, labels in ROWS.items():
        lines = list(csv.DictReader((tmp_path / "out" / f"{name}-MuscleSynth-tiny.csv").open(encoding="utf-8")))
        assert [line["row"] for line in lines] == labels
        assert all(0 < float(line[column]) < 100 for line in lines for column in COLUMNS)
        assert all(line["runs"] == "1 of 1 runs" for line in lines)
    written = (tmp_path / "out" / "table06-MuscleSynth-tiny.md").read_text(encoding="utf-8")
    (tmp_path / "out" / "table06-MuscleSynth-tiny.md").unlink()
    assert written in make_table(capsys, "--show", *words).out
    again = make_table(capsys, "--dry-run", *words)
    assert f"{len(rows)} rows: " in again.out
    assert "0 to run" in again.out
