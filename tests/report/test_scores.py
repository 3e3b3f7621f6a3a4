"""Scores per clip: CSV to look at, npz to compute on; damaged and foreign files are refused."""

import csv
import pickle
import zipfile

import numpy as np
import pytest
import torch

from transm3e.data.annotations import MUSCLES
from transm3e.errors import UserError
from transm3e.report.scores import read_predictions, write_predictions, write_scores

CLIPS = ["a/1.mp4", "b, c/2.mp4", "ü/3.mp4"]


def drawn():
    rng = np.random.default_rng(0)
    return rng.random((3, 20), dtype=np.float32), (rng.random((3, 20)) < 0.5).astype(np.uint8)


def test_scores_csv(tmp_path):
    scores, _ = drawn()
    write_scores(tmp_path / "s.csv", CLIPS, torch.tensor(scores), MUSCLES, [("d/4.mp4", "cut off\nat 3 s")])
    with (tmp_path / "s.csv").open(newline="", encoding="utf-8") as lines:
        head, *rows = csv.reader(lines)
    assert head == ["clip", *MUSCLES, "error"]
    assert [row[0] for row in rows] == [*CLIPS, "d/4.mp4"]
    np.testing.assert_allclose(np.array([row[1:-1] for row in rows[:3]], float), scores, atol=5e-7)
    assert all(len(cell.partition(".")[2]) == 6 for cell in rows[0][1:-1])
    assert [row[-1] for row in rows] == ["", "", "", "cut off at 3 s"]
    assert rows[3][1:-1] == [""] * 20


def test_scores_that_are_not_known_are_empty_and_there_may_be_more_columns(tmp_path):
    more = {"frames": {CLIPS[0]: "12", "d.mp4": "9"}}
    write_scores(tmp_path / "s.csv", CLIPS, np.full((3, 2), 0.5), ("a", "b"), [("d.mp4", "no")], {"b"}, more)
    with (tmp_path / "s.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.reader(lines))
    assert rows[0] == ["clip", "a", "b", "error", "frames"]
    assert [row[1:] for row in rows[1:]] == [
        ["0.500000", "", "", "12"],
        *[["0.500000", "", "", ""]] * 2,
        ["", "", "no", "9"],
    ]


def test_scores_csv_refuses_other_shapes_and_nan(tmp_path):
    scores, _ = drawn()
    with pytest.raises(ValueError, match=r"\(3, 20\); allowed: \(2, 20\)"):
        write_scores(tmp_path / "s.csv", CLIPS[:2], scores)
    with pytest.raises(ValueError, match=r"\(3, 20\); allowed: \(0, 20\)"):
        write_scores(tmp_path / "s.csv", [], scores)
    scores[0, 0] = np.nan
    with pytest.raises(ValueError, match="under failed"):
        write_scores(tmp_path / "s.csv", CLIPS, scores)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("count", [0, 3])
def test_predictions_come_back_as_they_were(tmp_path, count):
    scores, labels = (values[:count] for values in drawn())
    write_predictions(tmp_path / "p.npz", scores, torch.tensor(labels), CLIPS[:count], "new_test")
    read = read_predictions(tmp_path / "p.npz")
    np.testing.assert_array_equal(read.scores, scores)
    np.testing.assert_array_equal(read.labels, labels)
    assert (read.scores.dtype, read.labels.dtype, read.split) == (np.float32, np.uint8, "new_test")
    assert read.clips.tolist() == CLIPS[:count]


def test_a_split_whose_clips_all_failed(tmp_path):
    write_scores(tmp_path / "s.csv", [], np.zeros((0, 0)), failed=[("a.mp4", "empty")])
    assert (tmp_path / "s.csv").read_text().splitlines()[1] == "a.mp4," + "," * 20 + "empty"
    write_predictions(tmp_path / "p.npz", np.zeros((0, 0)), np.zeros((0, 0)), [], "new_test")
    assert read_predictions(tmp_path / "p.npz").scores.shape == (0, 20)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.full((3, 20), 2)}, "other than 0 and 1"),
        ({"clips": CLIPS[:2]}, r"scores \(3, 20\)"),
        ({"split": "test"}, "unknown split 'test', allowed: train"),
    ],
)
def test_write_predictions_refuses(tmp_path, change, message):
    scores, labels = drawn()
    with pytest.raises(ValueError, match=message):
        write_predictions(
            **{"path": tmp_path / "p.npz", "scores": scores, "labels": labels, "clips": CLIPS, "split": "train"}
            | change
        )


def test_damaged_predictions_are_refused_or_read_right(tmp_path):
    scores, labels = drawn()
    write_predictions(tmp_path / "p.npz", scores, labels, CLIPS, "new_test")
    whole = (tmp_path / "p.npz").read_bytes()
    rng = np.random.default_rng(0)
    messages = []
    for trial in range(300):
        data = bytearray(whole)
        if trial % 2:
            data = data[: rng.integers(len(data))]
        else:
            data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        (tmp_path / "q.npz").write_bytes(data)
        try:
            read = read_predictions(tmp_path / "q.npz")
        except UserError as error:
            messages.append(str(error))
        else:
            # A flipped bit that zip does not need (a date, say).
            np.testing.assert_array_equal(read.scores, scores)
            assert read.clips.tolist() == CLIPS
    assert len(messages) > 200
    assert all("q.npz" in message and "\n" not in message for message in messages)


def test_pickles_are_never_loaded(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    np.savez(tmp_path / "object.npz", scores=np.array([Bomb()], dtype=object), labels=0, clips=0, split="train")
    (tmp_path / "plain.npz").write_bytes(pickle.dumps(Bomb()))
    for name in ("object.npz", "plain.npz"):
        with pytest.raises(UserError, match=name):
            read_predictions(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_foreign_and_missing_files(tmp_path):
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    np.save(tmp_path / "lone.npy", np.zeros(3))
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("scores", "text")
    for name in ("other.npz", "lone.npy", "text.npz"):
        with pytest.raises(UserError, match="not a predictions file"):
            read_predictions(tmp_path / name)
    with pytest.raises(UserError, match="no predictions at"):
        read_predictions(tmp_path / "none.npz")


@pytest.mark.parametrize("scores", [np.zeros((3, 20), np.int64), np.zeros((3, 19), np.float32)])
def test_arrays_of_another_kind_are_refused(tmp_path, scores):
    np.savez(tmp_path / "p.npz", scores=scores, labels=np.zeros((3, 20), np.uint8), clips=CLIPS, split="train")
    with pytest.raises(UserError, match=r"delete it and run the test again"):
        read_predictions(tmp_path / "p.npz")
