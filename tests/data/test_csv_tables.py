"""The one reader of CSV tables."""

from pathlib import Path

import pytest

from transm3e.data.csv_tables import read_rows
from transm3e.errors import UserError


def read(tmp_path, text, **options):
    (tmp_path / "t.csv").write_bytes(text.encode(options.pop("encoding", "utf-8")))
    return [(row.cells, row.where.rpartition(":")[2]) for row in read_rows(tmp_path / "t.csv", **options)]


def test_rows_are_named_by_the_line_they_begin_in(tmp_path):
    text = '\ufeff# remark\r\n\r\na, b\r\n1,"two\r\n\r\n# no remark"\r\n# remark\r\n,\r\nx\u2028y, 4 \r\n'
    rows = [({"a": "1", "b": "two\n\n# no remark"}, "4"), ({"a": "x\u2028y", "b": "4"}, "9")]
    assert read(tmp_path, text, columns=("b",)) == rows


def test_remarks_are_rows_where_a_name_may_begin_so(tmp_path):
    assert read(tmp_path, "a\n#1.mp4\n", remarks=False) == [({"a": "#1.mp4"}, "2")]
    assert read(tmp_path, "a\n#1.mp4\n") == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b\n# x\n1,2,3\n", r"t.csv:3: 3 cells, but the header has 2 columns; join the muscles of a clip by"),
        ("a,b\n1\n", r"t.csv:2: 1 cell, but the header has 2 columns"),
        ("a,b,a\n", r"t.csv: the header names column 'a' twice"),
        ("a,b,,\n1,2,,\n", r"t.csv: column 3 of the header has no name"),
        ("a;b\n1;2\n", r"the header is one cell, 'a;b', with semicolons between the names; save the table with commas"),
        ("a\tb\n1\t2\n", r"with tabs between"),
        ("sep=;\na;b\n", r"'sep=;', with semicolons"),
        ('a,b\n1,2\n"x"y,2\n', r"t.csv:3: cannot be read as a UTF-8 CSV file .*expected after"),
        ("", r"column\(s\) a missing; the header needs a and may have b"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path, text, says):
    with pytest.raises(UserError, match=says):
        read(tmp_path, text, columns=("a",), optional=("b",))


def test_what_a_spreadsheet_calls_unicode_text_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be read as a UTF-8 CSV file"):
        read(tmp_path, "a\tb\n", encoding="utf-16")


def test_no_other_file_reads_csv():
    root = Path(__file__).parents[2]
    files = [file for folder in ("transm3e", "tools", "datasets") for file in (root / folder).rglob("*.py")]
    readers = [
        file.name for file in files if any(name in file.read_text("utf-8") for name in ("csv.reader", "DictReader"))
    ]
    # A run's identity is of any table, and refuses none.
    assert sorted(readers) == ["csv_tables.py", "data_identity.py"]
