from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest

from transm3e.data.backends import open_source
from transm3e.data.decode import DecodeError
from transm3e.data.images import ImageFolder, files_by_number, read_image


def draw(folder: Path, *names: str, size: tuple[int, int] = (12, 16)) -> None:
    folder.mkdir(exist_ok=True)
    for value, name in enumerate(names):
        cv2.imwrite(str(folder / name), np.full((*size, 3), (value, 20, 40), np.uint8))


def test_frames_are_ordered_by_the_last_number_in_the_name(tmp_path: Path) -> None:
    draw(tmp_path / "clip2", "a7_9.png", "a7_11.png", "a7_10.png")
    (tmp_path / "clip2" / "notes.txt").touch()
    with closing(open_source(tmp_path / "clip2")) as frames:
        assert (frames.num_frames, frames.seconds) == (3, None)
        seen = frames.frames([2, 0, 2])
    assert seen.shape == (3, 12, 16, 3)
    assert seen[:, 0, 0].tolist() == [[40, 20, 1], [40, 20, 0], [40, 20, 1]]


def test_a_still_is_a_clip_of_one_frame(tmp_path: Path) -> None:
    draw(tmp_path, "photo.jpg")
    with closing(open_source(tmp_path / "photo.jpg")) as frames:
        assert frames.num_frames == 1
        assert frames.frames([0, 0]).shape == (2, 12, 16, 3)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ([], "holds no images"),
        (["1.png", "2.png", "5.png", "7.png"], "lacks 3 of the frames 1 to 7: 3, 4, 6; extract it again"),
        (["a.png"], "has no number in its name"),
        (["a1.png", "b1.png"], "has the number of"),
    ],
)
def test_invalid_folders_of_images(tmp_path: Path, names: list[str], reason: str) -> None:
    draw(tmp_path / "clip", *names)
    with pytest.raises(DecodeError, match=reason):
        files_by_number(tmp_path / "clip")


def test_damaged_images(tmp_path: Path) -> None:
    draw(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    draw(tmp_path, "4.jpg", size=(10, 16))
    (tmp_path / "2.jpg").write_bytes((tmp_path / "2.jpg").read_bytes()[:-40])
    (tmp_path / "3.jpg").write_text("no picture")
    frames = ImageFolder(tmp_path)
    for numbers, reason in (
        ([0, 1], "2.jpg: is truncated"),
        ([2], "3.jpg: is not an image"),
        ([0, 3], "4.jpg: has .10, 16"),
    ):
        with pytest.raises(DecodeError, match=reason):
            frames.frames(numbers)
    with pytest.raises(DecodeError, match="cannot be read"):
        read_image(tmp_path / "gone.jpg")
    with pytest.raises(DecodeError, match="took longer than 0 s"):
        ImageFolder(tmp_path, timeout=0.0).frames([0])
