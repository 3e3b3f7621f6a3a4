"""The files that loaders are measured on: what is in them, and that they are made once."""

from __future__ import annotations

import numpy as np
import pytest

from transm3e.benchmark.loader.files import made_files, moving_frames, read_film, resized_files, source_files
from transm3e.data.encode import write_video
from transm3e.errors import UserError


def test_frames_move_and_are_textured_but_not_noise():
    frames = np.stack(list(moving_frames(0, 96, 64, 12))).astype(int)
    assert frames.shape == (12, 64, 96, 3)
    assert frames.std() > 15
    steps, neighbours = np.abs(np.diff(frames, axis=0)), np.abs(np.diff(frames, axis=2))
    assert steps.mean(axis=(1, 2, 3)).min() > 2
    # Of noise neighbours would differ by more than its standard deviation.
    assert neighbours.mean() < 0.7 * frames.std()
    again, other = next(moving_frames(0, 96, 64, 12)), next(moving_frames(1, 96, 64, 12))
    assert np.array_equal(again, frames[0])
    assert not np.array_equal(other, frames[0])


def test_files_are_made_once_and_resized(tmp_path):
    files = made_files(tmp_path, 64, 48, 2, seconds=9)
    assert [film.path.name for film in files.films] == ["000.mp4", "001.mp4"]
    film = files.films[0]
    assert (film.width, film.height, film.num_frames, film.rate, film.keyframe_every) == (64, 48, 270, 30, 250)
    assert film.megabits_per_second == pytest.approx(film.size_bytes * 8 / 9e6)
    small = resized_files(files, tmp_path)
    assert (small.name, small.original) == ("64x48 resized", "64x48")
    assert [(film.num_frames, film.keyframe_every) for film in small.films] == [(270, 12)] * 2
    places = sorted(tmp_path.rglob("*.mp4"))
    before = {place: place.stat().st_mtime_ns for place in places}
    assert (made_files(tmp_path, 64, 48, 2), resized_files(files, tmp_path)) == (files, small)
    assert {place: place.stat().st_mtime_ns for place in places} == before


def test_own_files(tmp_path):
    frames = np.zeros((4, 32, 48, 3), np.uint8)
    for name in ("b/x.mp4", "a/x.mp4", "c/x.mp4"):
        (tmp_path / "mine" / name).parent.mkdir(parents=True)
        write_video(tmp_path / "mine" / name, frames, fps=8)
    files = source_files(tmp_path / "mine", 2)
    assert files.name == "source mine"
    assert [film.path.parent.name for film in files.films] == ["a", "b"]
    # Two files of one name stay two.
    assert len({film.path for film in resized_files(files, tmp_path / "out").films}) == 2
    assert not list((tmp_path / "mine").rglob("*resized*"))


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "bad.mp4").write_text("no video")
    with pytest.raises(UserError, match=r"bad.mp4: .*; remove it, or measure on other files"):
        read_film(tmp_path / "bad.mp4")
    with pytest.raises(UserError, match="no such folder or file"):
        source_files(tmp_path / "none", 2)
