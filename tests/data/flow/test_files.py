import zipfile
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transm3e.data.decode import DecodeError
from transm3e.data.encode import write_video
from transm3e.data.flow import check_frames, open_flow
from transm3e.data.flow.coding import REST, flow_frames, to_bytes, to_pixels
from transm3e.data.flow.files import CHUNK, MADE_BY
from transm3e.prepare.flow.write import write_flow_npz, write_flow_video

BOUND = 20.0
RATE = Fraction(25)


def moving_field(count: int, height: int = 48, width: int = 64) -> np.ndarray:
    """(count, H, W, 2) uint8: a smooth blob of motion that wanders over a field at rest; frame 0 is at rest."""
    y, x = np.mgrid[:height, :width]
    frames = []
    for t in range(count):
        blob = np.exp(-((x - 10 - 2 * t) ** 2 + (y - 24) ** 2) / 120.0)
        frames.append(to_bytes(np.stack([14 * blob, -9 * blob], -1) * (t > 0), BOUND))
    return np.stack(frames)


def write(write_one, path: Path, frames: np.ndarray) -> Path:
    write_one(path, iter(frames), RATE, {"made_by": MADE_BY, "bound": BOUND, "frames": len(frames)})
    return path


def write_jpegs(folder: Path, frames: np.ndarray, layout: str) -> Path:
    folder.mkdir()
    for number, frame in enumerate(frames[1:], start=1):
        for axis, name in enumerate("xy"):
            assert cv2.imwrite(str(folder / f"{layout.format(name)}{number:05d}.jpg"), frame[..., axis])
    return folder


def read(path: Path, indices) -> np.ndarray:
    with closing(open_flow(path)) as flow:
        return flow.frames(indices)


@given(st.floats(-60, 60), st.sampled_from([8.0, 20.0, 32.0]))
def test_bytes_hold_a_displacement_to_half_a_step(pixels, bound):
    stored = to_bytes(np.float64(pixels), bound)
    assert 1 <= stored <= 255
    assert abs(float(to_pixels(stored, bound)) - np.clip(pixels, -bound, bound)) <= bound / 127 / 2 + 1e-5
    assert int(to_bytes(np.float64(-pixels), bound)) == 256 - int(stored), "a mirrored clip is 256 - x"


def test_flow_frames_begin_at_rest_and_look_back():
    images = [np.full((4, 6), value, np.uint8) for value in (10, 13, 7)]
    flow = list(flow_frames(images, lambda a, b: np.full((4, 6, 2), float(b[0, 0]) - float(a[0, 0])), 127.0))
    assert [int(frame[0, 0, 0]) for frame in flow] == [REST, REST + 3, REST - 6]
    assert {frame.shape for frame in flow} == {(4, 6, 2)}


def test_video_is_within_a_fraction_of_a_pixel(tmp_path):
    frames = moving_field(30)
    with closing(open_flow(write(write_flow_video, tmp_path / "flow.mp4", frames))) as flow:
        assert (flow.num_frames, flow.size, flow.bound) == (30, (48, 64), BOUND)
        everything = flow.frames(range(30))
        np.testing.assert_array_equal(flow.frames([25, 3, 3, 12]), everything[[25, 3, 3, 12]])
    error = np.abs(to_pixels(everything, BOUND) - to_pixels(frames, BOUND))
    assert error.mean() < BOUND / 127 / 4, "more than rounding to bytes adds on average"
    assert error.max() < 0.7
    assert (everything[0] == REST).all()


def test_video_keeps_the_full_range(tmp_path):
    frames = np.full((3, 32, 32, 2), 255, np.uint8)
    frames[..., 1] = 1
    stored = read(write(write_flow_video, tmp_path / "flow.mp4", frames), [2]).astype(int)
    assert np.abs(stored - frames[:1]).max() <= 1, "values outside 16..235 were squeezed"


def test_npz_is_exact_and_opens_only_what_it_needs(tmp_path):
    frames = moving_field(CHUNK * 2 + 5, 16, 24)
    path = write(write_flow_npz, tmp_path / "flow.npz", frames)
    np.testing.assert_array_equal(read(path, range(len(frames))), frames)
    with zipfile.ZipFile(path) as archive:
        damaged = archive.getinfo("flow_00016.npy").header_offset + 80
    content = bytearray(path.read_bytes())
    content[damaged] ^= 0xFF
    path.write_bytes(content)
    np.testing.assert_array_equal(read(path, [36, 2]), frames[[36, 2]])
    with pytest.raises(DecodeError, match=r"flow\.npz: cannot be read"):
        read(path, [20])


@pytest.mark.parametrize("layout", ["flow_{}_", "{}_"])
def test_jpeg_folders_count_from_the_second_frame(tmp_path, layout):
    frames = moving_field(6)
    folder = write_jpegs(tmp_path / "clip", frames, layout)
    assert cv2.imwrite(str(folder / "img_00001.jpg"), np.zeros((9, 9, 3), np.uint8))
    with closing(open_flow(folder)) as flow:
        assert (flow.num_frames, flow.size, flow.bound) == (6, (48, 64), None)
        stored = flow.frames([5, 0, 1])
    assert np.abs(stored.astype(int) - frames[[5, 0, 1]]).max() <= 12  # JPEG's loss
    assert (stored[1] == REST).all()


def lose_y(folder):
    (folder / "flow_y_00003.jpg").unlink()


def lose_both(folder):
    lose_y(folder)
    (folder / "flow_x_00003.jpg").unlink()


def shrink_y(folder):
    assert cv2.imwrite(str(folder / "flow_y_00003.jpg"), np.zeros((8, 8), np.uint8))


def cut_x(folder):
    file = folder / "flow_x_00003.jpg"
    file.write_bytes(file.read_bytes()[:-40])


def lose_all(folder):
    for file in folder.iterdir():
        file.unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lose_y, "flow_x_00003.jpg but no flow_y_00003.jpg"),
        (lose_both, "lacks 1 of the frames 1 to 5: 3"),
        (shrink_y, "flow_y_00003.jpg: has .* pixels, the others"),
        (cut_x, "flow_x_00003.jpg: is truncated"),
        (lose_all, "holds no flow images: flow_x_00001.jpg and"),
    ],
)
def test_faults_of_jpeg_folders_are_named(tmp_path, spoil, message):
    folder = write_jpegs(tmp_path / "clip", moving_field(6), "flow_{}_")
    spoil(folder)
    with pytest.raises(DecodeError, match=message):
        read(folder, range(6))


def test_files_without_flow_are_named(tmp_path):
    write_video(tmp_path / "rgb.mp4", np.zeros((3, 32, 32, 3), np.uint8), 25)
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "pickle.npz", mark=np.array([{"bound": 1}], dtype=object), num_frames=3)
    np.savez(tmp_path / "other.npz", keypoint=np.zeros(3))
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    cut = write(write_flow_npz, tmp_path / "cut.npz", moving_field(4, 16, 16))
    cut.write_bytes(cut.read_bytes()[:-30])
    for name, message in {
        "rgb.mp4": "not of optical flow",
        "text.npz": "not an npz",
        "pickle.npz": "element type object",
        "other.npz": "no array 'mark'",
        "array.npz": "not an npz",
        "cut.npz": "cannot be read",
        "none.npz": "no such file",
        "none.mp4": "no such file",
    }.items():
        with pytest.raises(DecodeError, match=message):
            open_flow(tmp_path / name)


@given(st.integers(1, 2000), st.integers(1, 2000))
def test_frame_counts_may_differ_by_two_or_two_percent(flow, video):
    if abs(flow - video) <= 2 or abs(flow - video) * 50 <= video:
        check_frames(flow, video, "a.mp4")
    else:
        with pytest.raises(DecodeError, match=f"a.mp4: has {flow} flow frames, its video {video}"):
            check_frames(flow, video, "a.mp4")
