"""The shipped tables hold the paper's scores; mistakes in a table file are reported in one line."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tests.each import assert_each
from transm3e.errors import UserError
from transm3e.report.table import COLUMNS
from transm3e.tables.read import DATASETS, DEMO_CONFIGS, config_name, read_table

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
TABLES = sorted((CONFIGS / "tables").glob("*.yaml"))
# Data set -> file of table 2.
TABLE_2 = {
    "MuscleMap136": "table02_musclemap136",
    "MuscleUCF90": "table02_muscle_ucf90",
    "MuscleHMDB41": "table02_muscle_hmdb41",
}
HEAD = "title: T\nsource: S\nrows:\n"
ROW = "  - {label: a, config: b%s}\n"
GRID = "title: T\nconfig: b\ngrid: %s"


def test_there_are_tables_2_to_14():
    assert [path.stem for path in TABLES] == [f"table{number:02d}" for number in range(2, 15)]


def test_every_tables_scores_are_the_papers(shared):
    def rule(path):
        table = read_table(path)
        assert table.datasets == tuple(TABLE_2 if path.stem == "table02" else ["MuscleMap136"])
        for dataset in table.datasets:
            pattern = TABLE_2[dataset] if path.stem == "table02" else f"{path.stem}_*"
            [file] = (shared / "paper" / "tables").glob(f"{pattern}.csv")
            theirs = list(csv.DictReader(file.open(encoding="utf-8")))
            assert [row.paper[dataset] for row in table.rows] == [tuple(float(t[c]) for c in COLUMNS) for t in theirs]
            # A row is named as there, but for table 3, which names by what is switched on.
            for row, there in zip(table.rows, theirs, strict=True):
                name = next(iter(there.values())).replace("+", " ").split()[0]
                assert path.stem == "table03" or name in row.label

    assert_each(rule, {path.stem: path for path in TABLES})


def test_rows_of_one_run_have_one_score_in_the_paper_too():
    scores: dict[str, set] = {}
    for other in TABLES:
        for row in read_table(other).rows:
            scores.setdefault(repr((row.config, sorted(row.opts.items()))), set()).add(row.paper["MuscleMap136"])
    # The paper's own scores differ: of MViTv2-S in table 9, and of MCTs alone in tables 7 and 10.
    several = {key for key, found in scores.items() if len(found) > 1}
    assert several == {repr(("mvitv2_s", [])), repr(("mcts_rgb_s", []))}


def test_every_config_name_is_used_and_small_names_differ():
    assert all(config_name(full, "MuscleUCF90") == full for full in DEMO_CONFIGS)
    assert {config_name(full, "FreeExercise") for full in DEMO_CONFIGS} == set(DEMO_CONFIGS.values())
    assert config_name("random", "MuscleSynth") == "random"
    for name in DATASETS:
        assert (CONFIGS / name).is_dir()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a", "holds title, source, datasets, config, opts, grid, rows, this file holds list"),
        ("title: [", "not a YAML file"),
        (HEAD + "  x", "rows is 'x'; it must be a list of rows"),
        ("title: T\nsource: S\nrow: []", "unknown key 'row'; allowed: title, source, datasets, config"),
        (GRID % "3", "grid is 3; it must be a mapping of KEY: "),
        (GRID % "{A: 1}", "grid: A is 1; it must be a list of different values"),
        (GRID % "{A: [1, 1]}", r"A is \[1, 1\]; it must be a list of different values"),
        (GRID % "{INIT.OPTS: {A: []}}", r"grid: INIT.OPTS: A is \[\]; it must be"),
        (GRID % "{RNG_SEED: [1, 2]}", "RNG_SEED is set by make_table itself; remove it"),
        (GRID % "{A: [1]}\nopts: {A: 2}", "A 1: A is set by the row and by the grid"),
        (
            GRID % "{A: [1]}\nrows: [{label: a, paper: {MuscleSynth: [1, 1, 1, 1, 1, 1]}}]\nsource: S",
            "remove paper or grid",
        ),
        (
            "title: T\ndatasets: MuscleSynth\nrows: [{label: a, config: b}]",
            "datasets is 'MuscleSynth'; it must be a list",
        ),
        ("title: T\nrows: [{label: a, config: b, paper: {MuscleSynth: [1, 1, 1, 1, 1, 1]}}]", "source is None"),
        ("title: T\nrows: [{label: a}]", r"row 1 \(a\): config is None"),
        (HEAD + "  - 3", "row 1 is 3; it must be a mapping with label, config, opts, paper"),
        (HEAD + ROW % ", size: 3", "row 1: unknown key 'size'"),
        (HEAD + "  - {label: 1, config: b}", r"row 1: label is 1; it must be a text \(quote numbers\)"),
        (HEAD + ROW % ", opts: [A, 1]", r"row 1 \(a\): opts is \['A', 1\]; it must be a mapping of KEY: VALUE"),
        (HEAD + ROW % ", opts: {RNG_SEED: 1}", "RNG_SEED is set by make_table itself; remove it"),
        (HEAD + ROW % ", opts: {INIT.OPTS: [A, 1]}", r"INIT.OPTS is \['A', 1\]; it must be a mapping"),
        (HEAD + ROW % ", paper: {UCF: []}", "paper names the data set 'UCF'; allowed: MuscleMap136"),
        (HEAD + ROW % ", paper: {MuscleSynth: [1, 2]}", r"scores on MuscleSynth are \[1, 2\]; they must be 6 numbers"),
        (HEAD + ROW % ", paper: {MuscleSynth: [1, 2, 3, 4, 5, 101]}", "must be 6 numbers in percent: known_val"),
        (HEAD + ROW % "" + ROW % "", "two rows are labelled 'a'"),
    ],
)
def test_what_is_wrong_is_reported_in_one_line(text, message, tmp_path):
    file = tmp_path / "t.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        read_table(file)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_grid_is_every_row_once_per_combination(tmp_path):
    file = tmp_path / "t.yaml"
    file.write_text(
        "title: T\ndatasets: [Mine]\nconfig: b\nopts: {D: 4, INIT.OPTS: {X: 1}}\n"
        "grid: {A.B: [1e-3, 2], INIT.OPTS: {C: [x, y]}}\n"
    )
    table = read_table(file)
    assert (table.datasets, table.source) == (("Mine",), "")
    assert [row.label for row in table.rows] == [
        f"A.B {number}, INIT.OPTS C {letter}" for number in ("1e-3", "2") for letter in "xy"
    ]
    assert table.rows[1].opts == {"D": 4, "A.B": "1e-3", "INIT.OPTS": {"X": 1, "C": "y"}}
    # Beside rows: each of them, which keep their configs and options.
    file.write_text(file.read_text() + "rows: [{label: one, opts: {D: 5}}, {label: two, config: c}]\n")
    rows = read_table(file).rows
    assert [(row.label.split(",")[0], row.config, row.opts["D"]) for row in rows[::4]] == [
        ("one", "b", 5),
        ("two", "c", 4),
    ]
    assert len(rows) == 8
