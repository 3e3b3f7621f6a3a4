"""tools/make_table.py trains rows of the paper's tables by one command; `make test-tables` trains all of them."""

from __future__ import annotations

import csv
import re
import subprocess
import sys

from tests.run_net import REPO, quiet_env
from transm3e.report.table import COLUMNS

TABLES = [f"configs/tables/table{number:02d}.yaml" for number in (3, 6)]
# Beside the rows: stage 1 on RGB and on RGB difference, the same for all.
ROWS = {"table06": ["LateFusionSum", "DeiT"]}


def make_table(*words):
    """Run the tool on MuscleSynth at its smallest."""
    command = [
        sys.executable,
        "tools/make_table.py",
        *TABLES,
        "--on",
        "MuscleSynth",
        "--scale",
        "tiny",
        *map(str, words),
    ]
    return subprocess.run(command, cwd=REPO, env=quiet_env(), capture_output=True, text=True, check=False)


def test_rows_of_two_tables_are_trained_by_one_command(few_clips, tmp_path):
    rows = [label for labels in ROWS.values() for label in labels]
    words = ["--rows", *rows, "--out", tmp_path / "out", "--opts", "RUNS_DIR", tmp_path / "runs"]
    words += ["DATA.PATH_TO_DATA_DIR", few_clips]
    done = make_table(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    made = re.search(r"^(\d+) runs: \1 done", done.stderr, re.MULTILINE)
    assert made, done.stderr
    assert len(list((tmp_path / "runs").glob("*/results.json"))) == int(made[1]) > len(rows)
    for name, labels in ROWS.items():
        lines = list(csv.DictReader((tmp_path / "out" / f"{name}-MuscleSynth-tiny.csv").open(encoding="utf-8")))
        assert [line["row"] for line in lines] == labels
        assert all(0 < float(line[column]) < 100 for line in lines for column in COLUMNS)
        assert all(line["runs"] == "1 of 1 runs" for line in lines)
    written = (tmp_path / "out" / "table06-MuscleSynth-tiny.md").read_text(encoding="utf-8")
    (tmp_path / "out" / "table06-MuscleSynth-tiny.md").unlink()
    assert written in make_table("--show", *words).stdout
    again = make_table("--dry-run", *words)
    assert f"{len(rows)} rows: " in again.stdout
    assert "0 to run" in again.stdout
