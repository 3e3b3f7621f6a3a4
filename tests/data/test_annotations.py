from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transm3e.data.annotations import (
    MUSCLES,
    SPLITS,
    Clip,
    multi_hot,
    parse_muscles,
    read_clip_table,
    table_digest,
    table_file,
    write_clip_table,
)
from transm3e.errors import UserError

HEADER = "path,split,activity,muscles\n"
NAMES = st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters="/.\\"), min_size=1, max_size=12)
CLIPS = st.lists(
    st.builds(
        Clip,
        path=st.builds("clips/{}.mp4".format, NAMES),
        split=st.sampled_from(SPLITS),
        activity=NAMES,
        muscles=st.sets(st.integers(0, len(MUSCLES) - 1)).map(lambda found: tuple(sorted(found))),
        skeleton=st.one_of(st.just(""), NAMES),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda clip: clip.path,
)


def table(tmp_path: Path, text: str) -> Path:
    (tmp_path / "clips.csv").write_text(text, encoding="utf-8")
    return tmp_path


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(CLIPS)
def test_what_is_written_is_read_back(tmp_path: Path, clips: list[Clip]) -> None:
    write_clip_table(tmp_path / "clips.csv", clips)
    found = read_clip_table(tmp_path)
    assert found.paths.tolist() == [clip.path for clip in clips]
    assert found.splits.tolist() == [clip.split for clip in clips]
    assert found.activities.tolist() == [clip.activity for clip in clips]
    assert found.skeletons.tolist() == [clip.skeleton for clip in clips]
    assert found.rows.tolist() == list(range(len(clips)))
    assert [tuple(np.flatnonzero(label)) for label in found.labels] == [clip.muscles for clip in clips]
    assert sum(len(found.select(split)) for split in SPLITS) == len(clips)


def test_select_keeps_the_rows_of_the_file(tmp_path: Path) -> None:
    rows = "a.mp4,train,run,calves\nb.mp4,new_val,sit,none\nc.mp4,train,run,0;19\n"
    train = read_clip_table(table(tmp_path, HEADER + rows)).select("train")
    assert train.rows.tolist() == [0, 2]
    assert train.labels[1].tolist() == multi_hot([0, 19]).tolist()
    assert len(train.select("new_val")) == 0


def test_the_authors_split_names_a_byte_order_mark_and_mixed_case_are_read(tmp_path: Path) -> None:
    found = read_clip_table(table(tmp_path, "\ufeff" + HEADER + "a.mp4,test_unseen,run, Neck and head ; 7\n"))
    assert found.splits.tolist() == ["new_test"]
    assert np.flatnonzero(found.labels[0]).tolist() == [0, 7]


def test_a_table_for_activities_needs_no_muscles_and_may_call_its_splits_val_and_test(tmp_path: Path) -> None:
    found = read_clip_table(table(tmp_path, "path,split,activity\na.mp4,train,run\nb.mp4,val,run\nc.mp4,test,sit\n"))
    assert found.splits.tolist() == ["train", "known_val", "known_test"]
    assert found.labels.shape == (3, 0)
    assert found.select("known_val").labels.shape == (1, 0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path,activity,muscles\na.mp4,run,none\n", "column(s) split missing"),
        ("", "missing; the header needs path,split,activity and may have muscles"),
        (HEADER, "no clips"),
        (HEADER + "a.mp4,training,run,none\n", ":2: unknown split 'training'; allowed: train, known_val"),
        (HEADER + ",train,run,none\n", ":2: empty path"),
        (HEADER + "/etc/a.mp4,train,run,none\n", "leaves the data root"),
        (HEADER + "x/../../a.mp4,train,run,none\n", "leaves the data root"),
        ("path,split,activity,muscles,skeleton\na.mp4,train,run,none,../s.json\n", "skeleton '../s.json' leaves"),
        (HEADER + "a.mp4,train,run,none\na.mp4,train,run,none\n", ":3: path 'a.mp4' in train is already in line 2"),
        (
            HEADER + "\nx//a.mp4,train,run,none\n\n./x/a.mp4,val,run,none\n",
            ":5: path './x/a.mp4' in known_val is already in line 3, as 'x//a.mp4' in train, a leak",
        ),
        (HEADER + "a.mp4,train,run,20\n", "muscle label 20 is outside 0..19"),
        (HEADER + "a.mp4,train,run,-1\n", "muscle label -1 is outside 0..19"),
        (HEADER + "a.mp4,train,run,bicep\n", "unknown muscle 'bicep'; allowed: neck_and_head, "),
        (HEADER + "a.mp4,train,run,\n", "unknown muscle ''"),
        (HEADER + "a.mp4,train,run,²\n", "muscle label ² is outside"),
        (HEADER + "a.mp4,train\n", ":2: 2 cells, but the header has 4 columns; an empty cell needs its comma"),
        (HEADER + "a.mp4,train,run,chest,biceps\n", ":2: 5 cells, but the header has 4 columns; join the muscles of a"),
        (
            HEADER + 'a.mp4,train,run,"chest\nb.mp4,train,run,chest\n',
            ":2: cannot be read as a UTF-8 CSV file (unexpected",
        ),
        (
            HEADER + "clips\\a.mp4,train,run,none\n",
            ":2: path 'clips\\\\a.mp4' has backslashes; write paths with forward",
        ),
    ],
)
def test_a_bad_table_is_one_line_that_names_the_file(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        read_clip_table(table(tmp_path, text))
    assert says in str(caught.value)
    assert "clips.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_spelling_of_each_path(tmp_path: Path) -> None:
    text = "path,split,activity,skeleton\n./a//b.mp4,train,run,./x//y.pkl::z//a\n#1.mp4,train,run,\nc/.,train,run,\n"
    found = read_clip_table(table(tmp_path, text))
    assert found.paths.tolist() == ["a/b.mp4", "#1.mp4", "c"]
    assert found.skeletons.tolist() == ["x/y.pkl::z//a", "", ""]


def test_a_table_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "clips.csv").write_bytes(b"path,split\xff\xfe\x00")
    with pytest.raises(UserError, match=r"clips\.csv: cannot be read as a UTF-8 CSV file"):
        read_clip_table(tmp_path)


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no clip table at .*clips\.csv; make it with"):
        table_file(tmp_path)
    with pytest.raises(UserError, match=r"no clip table at .*other\.csv"):
        read_clip_table(tmp_path / "other.csv")


def test_the_digest_follows_the_bytes(tmp_path: Path) -> None:
    first = table_digest(table(tmp_path, HEADER + "a.mp4,train,run,none\n"))
    assert first == table_digest(tmp_path / "clips.csv")
    assert first != table_digest(table(tmp_path, HEADER + "a.mp4,train,run,0\n"))


def test_muscles_are_sorted_and_counted_once() -> None:
    assert parse_muscles("biceps;7;3", "here") == (3, 7)
    assert parse_muscles("none", "here") == ()
    assert len(set(MUSCLES)) == len(MUSCLES) == 20
