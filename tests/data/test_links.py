"""Links to one file in several rows of a clip table: a leak that ends every run before it begins."""

import os

import pytest

from transm3e.data.annotations import Clip, table_from_clips
from transm3e.data.links import check_links
from transm3e.errors import UserError


def check(root, *rows):
    table = table_from_clips([Clip(path, split, "a", ()) for path, split in rows])
    check_links(table, table.paths, str(root), root / "clips.csv")


@pytest.fixture
def root(tmp_path):
    (tmp_path / "frames").mkdir()
    for name in ("a.mp4", "b.mp4", "many.pkl"):
        (tmp_path / name).write_bytes(b"x")
    os.link(tmp_path / "a.mp4", tmp_path / "hard.mp4")
    (tmp_path / "soft.mp4").symlink_to("a.mp4")
    (tmp_path / "linked").symlink_to("frames")
    return tmp_path


@pytest.mark.parametrize(("one", "other"), [("a.mp4", "hard.mp4"), ("soft.mp4", "hard.mp4"), ("linked", "frames")])
def test_one_file_in_train_and_evaluation_is_a_leak_in_any_order(root, one, other):
    for splits in (("known_test", "train"), ("train", "new_val")):
        with pytest.raises(
            UserError, match=rf"a leak, files of train .* \(1 in .*\): '.*' in {max(splits, key=len)[:5]}.* is '"
        ):
            check(root, ("b.mp4", "train"), *zip((one, other), splits, strict=True))


def test_distinct_and_missing_files_pass(root, caplog):
    check(root, ("a.mp4", "train"), ("soft.mp4", "train"), ("b.mp4", "known_val"), ("gone", "train"), ("no", "new_val"))
    # Of one pickle, but two videos.
    check(root, ("many.pkl::a", "train"), ("many.pkl::b", "known_val"), ("", "train"))
    assert not caplog.records


def test_a_file_that_is_scored_twice_is_logged(root, caplog):
    check(root, ("a.mp4", "known_val"), ("hard.mp4", "known_test"))
    assert "scored twice, under different names (1): 'hard.mp4' in known_test is 'a.mp4' in known_val" in caplog.text
