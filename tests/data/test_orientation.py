"""Display matrices against their definition: a pixel at (x, y) is shown at (a x + c y, b x + d y)."""

import math
import struct
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from transm3e.data.container import pixel_aspect
from transm3e.data.decode import DecodeError, Video, decode_frames
from transm3e.data.encode import write_frames, write_video
from transm3e.prepare.check.video import inspect_video
from transm3e.prepare.resize import ResizeSettings, resize_video

MATRICES = [(1, 0, 0, 1), (-1, 0, 0, 1), (1, 0, 0, -1), (-1, 0, 0, -1)]
MATRICES += [(0, b, c, 0) for b in (1, -1) for c in (1, -1)]


def set_matrix(path: Path, matrix: tuple[float, ...]) -> None:
    """Write (a, b, c, d) where an MP4 file has its first track's matrix (ISO 14496-12, 8.3.2)."""
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 44
    a, b, c, d = (round(65536 * value) for value in matrix)
    content[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


def shown(image: np.ndarray, matrix: tuple[int, ...]) -> np.ndarray:
    """The image, each pixel put where the definition says, from 0 on."""
    a, b, c, d = matrix
    y, x = np.indices(image.shape[:2])
    columns, rows = a * x + c * y, b * x + d * y
    columns, rows = columns - columns.min(), rows - rows.min()
    out = np.empty((rows.max() + 1, columns.max() + 1, 3), np.uint8)
    out[rows, columns] = image
    return out


def blocks(image: np.ndarray, size: int) -> np.ndarray:
    """The mean colour of each square of `size` pixels."""
    height, width = image.shape[0] // size, image.shape[1] // size
    return image.reshape(height, size, width, size, 3).mean((1, 3))


@pytest.fixture
def film(tmp_path: Path) -> Path:
    image = np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8).repeat(16, 0).repeat(16, 1)
    write_video(tmp_path / "a.mp4", [np.roll(image, 16 * i, 1) for i in range(4)], fps=25, crf=5)
    return tmp_path / "a.mp4"


@pytest.mark.parametrize("matrix", MATRICES)
def test_each_of_the_eight_is_shown_as_defined(film: Path, matrix: tuple[int, ...]) -> None:
    with av.open(str(film)) as container:
        coded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    set_matrix(film, matrix)
    np.testing.assert_array_equal(decode_frames(film, [0, 3]), np.stack([shown(coded[i], matrix) for i in (0, 3)]))
    facts = inspect_video(film, "all")
    assert (facts.fault, (facts.height, facts.width)) == ("", shown(coded[0], matrix).shape[:2])


@pytest.mark.parametrize("matrix", MATRICES)
def test_resized_videos_hold_what_is_shown(film: Path, tmp_path: Path, matrix: tuple[int, ...]) -> None:
    set_matrix(film, matrix)
    resize_video(film, tmp_path / "b.mp4", ResizeSettings(24, 12, 5, "superfast"))
    large, small = decode_frames(film, [2])[0], decode_frames(tmp_path / "b.mp4", [2])[0]
    assert np.abs(blocks(large, 16) - blocks(small, 8)).mean() < 8  # a mirrored one is off by 80


def test_small_angles_scales_and_nothing(film: Path) -> None:
    upright = decode_frames(film, [0])
    for matrix in ((1, 0.01, -0.01, 1), (0.5, 0, 0, 2), (0, 0, 0, 0)):
        set_matrix(film, matrix)
        np.testing.assert_array_equal(decode_frames(film, [0]), upright)


def test_a_crooked_angle_is_refused(film: Path) -> None:
    sine = math.sqrt(0.5)
    set_matrix(film, (sine, sine, -sine, sine))
    with (
        closing(Video(film)) as video,
        pytest.raises(DecodeError, match=r"rotation by 45 degrees; allowed: multiples of 90"),
    ):
        video.frames([0])


@pytest.mark.parametrize(("matrix", "expected"), [((1, 0, 0, 1), Fraction(4, 3)), ((0, 1, -1, 0), Fraction(3, 4))])
def test_resized_pixels_keep_their_aspect(tmp_path: Path, matrix: tuple[int, ...], expected: Fraction) -> None:
    frames = (av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24") for _ in range(3))
    write_frames(tmp_path / "a.mp4", frames, 25, {}, pixel_aspect=Fraction(4, 3))
    set_matrix(tmp_path / "a.mp4", matrix)
    resize_video(tmp_path / "a.mp4", tmp_path / "b.mp4", ResizeSettings(24, 12, 5, "superfast"))
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert pixel_aspect(container.streams.video[0]) == expected
    assert inspect_video(tmp_path / "a.mp4", "first").pixel_aspect == pytest.approx(4 / 3)
