"""The authors' ten pickles to a clip table."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transm3e.data.annotations import SPLITS, read_clip_table
from transm3e.errors import UserError
from transm3e.prepare.benchmarks.authors import activity_of, muscles_of, prepare_lists, read_lists, split_of
from transm3e.prepare.benchmarks.facts import MUSCLEMAP136
from transm3e.prepare.benchmarks.publish import publish
from transm3e.prepare.benchmarks.tree import match_paths

THEIRS = "/home/them/data/musclemap_trimmed"
NAMES = ("train", "val_seen", "val_unseen", "test_seen", "test_unseen")
ACTIVITIES = {
    "train": "squats",
    "val_seen": "squats",
    "test_seen": "squats",
    "val_unseen": "v-ups",
    "test_unseen": "v-ups",
}


def listed():
    return {name: [(f"{THEIRS}/{ACTIVITIES[name]}/{name}_{n}.mp4", [13, 17, n]) for n in range(3)] for name in NAMES}


def write_lists(folder, entries):
    folder.mkdir()
    for name, rows in entries.items():
        for kind, values in (("video", [path for path, _ in rows]), ("label", [label for _, label in rows])):
            (folder / f"{name}_{kind}_list.pkl").write_bytes(pickle.dumps(values))
    return folder


def make_videos(root, entries, depth=2):
    for rows in entries.values():
        for path, _ in rows:
            file = root.joinpath(*Path(path).parts[-depth:])
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"x")
    return root


@pytest.mark.parametrize("depth", [2, 3])
def test_lists_become_the_authors_splits_and_labels(tmp_path, depth):
    entries = listed()
    videos, lists = make_videos(tmp_path / "videos", entries, depth), write_lists(tmp_path / "lists", entries)
    (lists / "emd_list.pkl").write_bytes(b"not read")
    prepared = prepare_lists(videos, lists)
    text = publish(MUSCLEMAP136, prepared, videos, tmp_path / "out")
    table = read_clip_table(tmp_path / "out")
    assert [len(table.select(split)) for split in SPLITS] == [3] * 5
    assert {str(a) for a in table.select("new_val").activities} == {"v-ups"}
    row = table.paths.tolist().index(f"videos/{'musclemap_trimmed/' * (depth == 3)}v-ups/test_unseen_2.mp4")
    assert table.labels[row].nonzero()[0].tolist() == [2, 13, 17]
    assert "emd_list.pkl" in text
    assert "2 activities carry several sets of muscles: squats, v-ups" in text
    assert "train: 3 clips here, 8837 in the paper (-8834)." in text


def test_missing_videos_are_an_error_unless_allowed(tmp_path):
    entries = listed()
    videos, lists = make_videos(tmp_path / "videos", entries), write_lists(tmp_path / "lists", entries)
    (videos / "v-ups" / "val_unseen_1.mp4").unlink()
    with pytest.raises(UserError, match=r"1 of 15 listed videos .*val_unseen_1\.mp4.*--allow-missing"):
        prepare_lists(videos, lists)
    prepared = prepare_lists(videos, lists, allow_missing=True)
    assert len(prepared.clips) == 14
    assert prepared.skipped == [(f"{THEIRS}/v-ups/val_unseen_1.mp4", "listed, but not below --videos")]
    with pytest.raises(UserError, match="holds none of 15"):
        prepare_lists(make_videos(tmp_path / "else", {"a": [("/x/y.mp4", [])]}), lists, allow_missing=True)


def test_a_video_listed_twice_stays_once_and_is_not_trained_on(tmp_path):
    entries = listed()
    entries["train"] += [entries["test_seen"][0], entries["train"][0]]
    videos = make_videos(tmp_path / "videos", entries)
    prepared = prepare_lists(videos, write_lists(tmp_path / "lists", entries))
    assert {clip.split for clip in prepared.clips if "test_seen_0" in clip.path} == {"known_test"}
    assert [reason for _, reason in prepared.skipped] == [
        "listed in known_test and train; kept once, in known_test",
        "listed twice in train; kept once, in train",
    ]
    entries["train"].append((entries["train"][1][0], [5]))
    with pytest.raises(UserError, match="two labels, in train and in train"):
        prepare_lists(videos, write_lists(tmp_path / "again", entries))


class Hostile:
    def __reduce__(self):
        return os.system, ("touch hostile_ran",)


def test_a_hostile_pickle_is_refused_and_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lists = write_lists(tmp_path / "lists", listed())
    (lists / "train_label_list.pkl").write_bytes(pickle.dumps([[1], Hostile()]))
    with pytest.raises(UserError, match=r"train_label_list\.pkl.*system"):
        read_lists(lists)
    assert not (tmp_path / "hostile_ran").exists()


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("train_label_list.pkl", [[1], [2]], "3 paths, but train_label_list.pkl has 2 labels"),
        ("train_label_list.pkl", [[1], [2], [20]], r"train_label_list.pkl: entry 2: label \[20\] is neither"),
        ("train_label_list.pkl", [[1], [0.5], [3]], "entry 1: label"),
        ("train_label_list.pkl", [[1], float("nan"), [3]], "entry 1: label"),
        ("train_label_list.pkl", {}, "a list with an entry per clip"),
        ("train_video_list.pkl", ["a/b.mp4", 3, "c"], "entry 1 is 3, not a path"),
        ("train_more.pkl", ["a/b.mp4"], "found 2 and 1 .*train_videos.pkl"),
    ],
)
def test_lists_of_another_form_are_named(tmp_path, file, content, says):
    lists = write_lists(tmp_path / "lists", listed())
    (lists / file).write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=says):
        read_lists(lists)


def test_a_split_without_lists_is_named(tmp_path):
    lists = write_lists(tmp_path / "lists", {name: rows for name, rows in listed().items() if name != "val_unseen"})
    with pytest.raises(UserError, match="new_val needs one list of paths and one of labels, found 0 and 0"):
        read_lists(lists)


def test_splits_are_told_by_names():
    for name, split in [
        ("train_video.pkl", "train"),
        ("val_unseen/label/list.pkl", "new_val"),
        ("unseen_val_labels.pkl", "new_val"),
        ("train_lists/ValSeen-videos.pkl", "known_val"),
        ("TEST_SEEN.pkl", "known_test"),
        ("new_test_videos.pkl", "new_test"),
        ("embeddings.pkl", ""),
        ("val_seen_test_seen.pkl", "known_test"),
    ]:
        assert split_of(Path(name)) == split


@given(st.sets(st.integers(0, 19)))
def test_indices_and_multi_hot_labels_mean_the_same(muscles):
    hot = np.zeros(20)
    hot[list(muscles)] = 1
    expected = tuple(sorted(muscles))
    forms = (list(muscles), tuple(np.array(sorted(muscles), np.int64)), hot, hot.astype(bool).tolist(), hot.tolist())
    assert [muscles_of(form, "here") for form in forms] == [expected] * 5


def test_paths_match_by_their_longest_end():
    files = ["a/b/1.mp4", "b/1.mp4", "c/2.mkv", "d/3.mp4", "d/3.mkv", "4.mp4"]
    theirs = ["/x/a/b/1.mp4", "C:\\y\\b\\1.mp4", "/x/c/2.avi", "/x/d/3.avi", "/x/z/4.mp4", "/x/b/9.mp4"]
    assert match_paths(theirs, files) == ["a/b/1.mp4", "b/1.mp4", "c/2.mkv", "", "4.mp4", ""]
    assert match_paths(["/x/a/b/1.mp4"], files, strip="/x/a/") == ["b/1.mp4"]
    assert match_paths(["/x/a/b/1.mp4"], files, strip="/x") == ["a/b/1.mp4"]
    with pytest.raises(UserError, match="does not begin with it"):
        match_paths(theirs, files, strip="/x")
    with pytest.raises(UserError, match=r"both refer to 4\.mp4"):
        match_paths(["/x/z/4.mp4", "/x/y/4.mp4"], files)


def test_activities_are_parents_or_names_without_numbers():
    assert activity_of("/x/push ups/clip_1.mp4", "parent") == "push ups"
    assert activity_of("C:\\x\\push_ups_01_002.mp4", "file") == "push_ups"
    for path, how in (("clip.mp4", "parent"), ("/x/012.mp4", "file")):
        with pytest.raises(UserError, match="names no activity"):
            activity_of(path, how)
