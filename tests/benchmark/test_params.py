"""Parameters: every row of table 2 is what it should be, the facts are the sources', parts add up."""

from __future__ import annotations

import csv
import importlib.util
import json
import sys
from dataclasses import replace

import pytest

from transm3e.benchmark.params import CountedPart, count_parts, count_rows, rows_markdown
from transm3e.benchmark.params_rows import ROWS

BY_LABEL = {row.label: row for row in ROWS}


@pytest.fixture
def tool(repo, monkeypatch, capsys):
    """Calls tools/benchmark.py with words in place of sys.argv; returns (status, stdout, stderr)."""
    spec = importlib.util.spec_from_file_location("benchmark_tool", repo / "tools" / "benchmark.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.chdir(repo)

    def call(*words, rows=ROWS):
        monkeypatch.setattr(sys, "argv", ["benchmark.py", *map(str, words)])
        monkeypatch.setattr(module.params, "count_rows", lambda: count_rows(rows))
        try:
            status = module.main()
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()

    return call


def test_every_row_has_the_published_parameters(repo, monkeypatch):
    monkeypatch.chdir(repo)
    assert [problem for counted in count_rows() for problem in counted.problems] == []


def test_rows_and_counts_are_the_papers(shared):
    with (shared / "paper" / "tables" / "table02_musclemap136.csv").open(encoding="utf-8") as lines:
        paper = {line["model"]: float(line["params_millions"]) for line in csv.DictReader(lines)}
    assert {row.label: row.paper for row in ROWS} == paper
    assert list(BY_LABEL) == list(paper)


def test_published_counts_are_those_counted_in_the_references(shared):
    # ST-GCN stands there rounded, tests/parity/test_stgcn.py has its formulas.
    anchors = (shared / "ANCHORS.md").read_text(encoding="utf-8")
    counts = [row.published for row in ROWS if row.published and row.label != "ST-GCN"]
    assert len(counts) == 12
    assert [count for count in counts if f"{count:,}" not in anchors] == []


def test_a_config_is_the_published_model_or_says_what_makes_it_that():
    compared = [row for row in ROWS if row.published is not None]
    assert [row.label for row in compared if (row.published == row.expected) == bool(row.published_opts)] == []
    assert [row.label for row in compared if abs(row.expected / 1e6 - row.paper) > 0.1 and not row.note] == []


def test_a_mismatch_ends_with_status_1_and_says_which(tool, tmp_path):
    rows = [replace(BY_LABEL["MViTv2-B"], published=1), replace(BY_LABEL["MViTv2-S"], expected=34_245_525)]
    status, shown, err = tool("params", "--out", tmp_path / "new", rows=rows)
    assert status == 1
    assert err.splitlines() == [
        "MViTv2-B: configs/MuscleMap136/mvitv2_b.yaml with DATA.NUM_FRAMES 32 has 50,937,908 parameters, not 1 "
        "(PySlowFast MVITv2_B_32x3)",
        "MViTv2-S: configs/MuscleMap136/mvitv2_s.yaml has 34,245,524 parameters, not 34,245,525 "
        "(torchvision mvit_v2_s, PySlowFast MVITv2_S_16x4)",
    ]
    assert (tmp_path / "new" / "params.md").read_text() == shown
    assert shown.count("MISMATCH") == 2
    values = json.loads((tmp_path / "new" / "params.json").read_text())
    assert [row["count"] for row in values] == [50_901_044, 34_245_524]


def test_the_table_shows_ours_the_published_and_the_papers(tool):
    status, shown, err = tool("params", rows=[BY_LABEL["Random"], BY_LABEL["TransM3E-Small"]])
    assert (status, err) == (0, "")
    random, student = ([cell.strip() for cell in line.split("|")[1:-1]] for line in shown.splitlines()[2:])
    assert random == ["Random", "`configs/MuscleMap136/random.yaml`", "0", "-", "no weights", "0.0M", ""]
    assert student[2:4] == ["44,380,724", "44,376,116 (as ours with MCTF.QKV_BIAS False)"]
    assert rows_markdown([]).count("\n") == 2


def test_parts_of_a_student_and_its_teacher(tool, student_file, tiny_file):
    """Class tokens are K x D; the backbone is shown by its parts, its blocks are not; the teacher is frozen."""
    counted = count_parts([str(student_file), str(tiny_file)])
    student, one = ({part.name: part for part in counted[str(file)]} for file in (student_file, tiny_file))
    assert student["mcts"] == CountedPart("mcts", 20 * 16, 20 * 16) == replace(student["receivers"], name="mcts")
    assert student["head"].total == (4 * 16 + 1) * 20
    assert {"backbone.patch_embed", "backbone.blocks"} < set(one)
    assert (student["teacher"].total, student["teacher"].trainable) == (sum(p.total for p in one.values()), 0)
    whole = sum(part.total for name, part in student.items() if name != "teacher")
    status, shown, _ = tool("params", "--cfg", student_file, tiny_file, "MODEL.NUM_CLASSES", "21")
    assert status == 0
    assert f"| {student_file} | **model** | {whole + 4 * 16 + 1:,} |" in shown


def test_numbered_blocks_are_parts_where_they_are_all_there_is(repo, monkeypatch):
    """C2D: the stem, four stages with a pool (2) between them that has no weights, the head."""
    monkeypatch.chdir(repo)
    [parts] = count_parts([BY_LABEL["C2D (R50)"].path]).values()
    assert [part.name.rpartition(".")[2] for part in parts] == [*"013456"]
    assert parts[0].total == 3 * 64 * 7 * 7 + 2 * 64
    assert parts[-1].total == (2048 + 1) * 20


def test_models_without_weights_and_mistakes(tool):
    assert "random.yaml | **model** | 0 | 0 |" in tool("params", "--cfg", "configs/MuscleMap136/random.yaml")[1]
    status, _, err = tool("params", "MODEL.NUM_CLASSES", "400")
    assert (status, "params takes config settings, as MODEL.NUM_CLASSES, only with --cfg" in err) == (2, True)
    status, _, err = tool("params", "--cfg", "configs/none.yaml")
    assert (status, err.count("\n"), "cannot read the config configs/none.yaml" in err) == (2, 1, True)
