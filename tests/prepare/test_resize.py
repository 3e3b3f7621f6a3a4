import json
import os
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transm3e.data.annotations import read_clip_table
from transm3e.data.clip_names import target_names
from transm3e.data.decode import Video
from transm3e.data.encode import read_comment, write_frames, write_video
from transm3e.errors import UserError
from transm3e.prepare.flow.write import write_flow_video
from transm3e.prepare.resize import ResizeSettings, resize_folder, resize_table
from transm3e.prepare.resize_stream import scaled_size

SMALL = ResizeSettings(short_side=32, keyframe_interval=4)
REAL = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "clips"
STAMPS = [0, 40, 47, 200, 201, 260, 900, 1000, 1010, 1020]


def images(count: int, height: int = 64, width: int = 96) -> list[np.ndarray]:
    """Red left, blue top right, grey elsewhere, brighter with each frame."""
    frames = []
    for i in range(count):
        frame = np.full((height, width, 3), 40 + 12 * i, np.uint8)
        frame[:, : width // 4], frame[: height // 4, width // 2 :] = (200, 30, 30), (30, 30, 200)
        frames.append(frame)
    return frames


def write_variable(path: Path, stamps: list[int]) -> Path:
    def stamped():
        for image, stamp in zip(images(len(stamps)), stamps, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            yield frame

    write_frames(path, stamped(), 25, {"crf": "10"}, Fraction(1, 1000))
    return path


def write_turned(path: Path) -> None:
    """A file that says its images are to be shown turned by 90 degrees."""
    write_video(path.with_name("plain.mp4"), images(6), 25, crf=5)
    with av.open(str(path.with_name("plain.mp4"))) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.set_display_rotation(90)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    path.with_name("plain.mp4").unlink()


def thumbnail(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, (6, 6), interpolation=cv2.INTER_AREA).astype(float)


def packets(path: Path) -> list[av.Packet]:
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(video=0) if packet.size]


def statuses(results):
    return {result.name: result.status for result in results}


def test_frames_keep_number_order_time_and_colour(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    write_variable(source / "a.mkv", STAMPS)
    assert statuses(resize_folder(source, tmp_path / "out", SMALL, 1)) == {"a.mkv": "made"}
    with closing(Video(source / "a.mkv")) as old, closing(Video(tmp_path / "out/a.mp4")) as new:
        np.testing.assert_allclose(new.seconds, old.seconds, atol=1e-6)
        small, large = new.frames(range(10)), old.frames(range(10))
    assert small.shape == (10, 32, 48, 3)
    means = [clip.reshape(10, 2, clip.shape[1] // 2, 2, clip.shape[2] // 2, 3).mean((2, 4)) for clip in (small, large)]
    assert np.abs(means[0] - means[1]).max() < 4
    made = packets(tmp_path / "out/a.mp4")
    keys = np.flatnonzero([packet.is_keyframe for packet in sorted(made, key=lambda packet: packet.pts)])
    assert np.diff([*keys, 10]).max() <= 4
    assert json.loads(read_comment(tmp_path / "out/a.mp4"))["frames"] == 10


@pytest.mark.skipif(
    not hasattr(av.video.stream.VideoStream, "set_display_rotation"), reason="this PyAV cannot write it"
)
def test_turned_videos_come_out_upright(tmp_path):
    (tmp_path / "in").mkdir()
    write_turned(tmp_path / "in/a.mp4")
    resize_folder(tmp_path / "in", tmp_path / "out", SMALL, 1)
    with closing(Video(tmp_path / "in/a.mp4")) as old, closing(Video(tmp_path / "out/a.mp4")) as new:
        large, small = old.frames([4])[0], new.frames([4])[0]
    with av.open(str(tmp_path / "out/a.mp4")) as container:
        assert next(container.decode(video=0)).rotation == 0
    assert (large.shape, small.shape) == ((96, 64, 3), (48, 32, 3))
    assert np.abs(thumbnail(large) - thumbnail(small)).max() < 12


@pytest.mark.skipif(not REAL.is_dir(), reason="the shared clips are not here")
@pytest.mark.parametrize("name", ["v_BaseballPitch_g01_c01.avi", "intel_asl_want.mkv", "torchcodec_nasa_13013.mp4"])
def test_real_clips_xvid_full_range_and_two_streams(tmp_path, name):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).symlink_to((REAL / name).resolve())
    resize_folder(tmp_path / "in", tmp_path / "out", ResizeSettings(64, 12, 12, "superfast"), 1)
    with closing(Video(REAL / name)) as old, closing(Video((tmp_path / "out" / name).with_suffix(".mp4"))) as new:
        assert new.num_frames == old.num_frames
        middle = [old.num_frames // 2]
        large, small = old.frames(middle)[0], new.frames(middle)[0]
    assert min(small.shape[:2]) == 64
    assert small.shape[1] / small.shape[0] == pytest.approx(large.shape[1] / large.shape[0], rel=0.02)
    assert np.abs(thumbnail(large) - thumbnail(small)).mean() < 2


@pytest.fixture
def data(tmp_path):
    """Three clips, one of them broken, with skeletons, flow images, and a column of its own."""
    root = tmp_path / "data"
    (root / "clips").mkdir(parents=True)
    (root / "flow/a").mkdir(parents=True)
    write_video(root / "clips/a.mp4", images(5), 25)
    write_video(root / "clips/a.mkv", images(3), 25)
    (root / "clips/c.avi").write_bytes(b"")
    (root / "a.npz").write_text("{}")
    (root / "flow/a/flow_x_00001.jpg").write_bytes(b"x")
    (root / "clips.csv").write_text(
        "path,split,activity,muscles,skeleton,flow,note\n"
        "clips/a.mp4,train,squat,biceps,a.npz,flow/a,1\n"
        "clips/a.mkv,train,squat,none,a.npz,,2\n"
        "clips/c.avi,known_val,squat,none,,,3\n"
    )
    return root


def test_a_table_comes_out_whole(data, tmp_path):
    results = resize_table(data, tmp_path / "out", SMALL, 1)
    assert statuses(results) == {
        **{"clips/a.mp4": "made", "clips/a.mkv": "made", "clips/c.avi": "failed"},
        **{"a.npz": "made", "flow/a/flow_x_00001.jpg": "made"},
    }
    assert results[2].reason == "the file is empty"
    table = read_clip_table(tmp_path / "out")
    assert table.paths.tolist() == ["clips/a.mp4.mp4", "clips/a.mkv.mp4", "clips/c.mp4"]
    assert (tmp_path / "out/clips.csv").read_text().splitlines()[1] == (
        "clips/a.mp4.mp4,train,squat,biceps,a.npz,flow/a,1"
    )
    assert all((tmp_path / "out" / name).exists() for name in (*table.paths[:2], "a.npz", table.flows[0]))
    again = statuses(resize_table(data, tmp_path / "out", SMALL, 1))
    assert set(again.values()) == {"kept", "failed"}
    assert again["clips/c.avi"] == "failed"


def test_nothing_foreign_is_overwritten(data, tmp_path):
    out = tmp_path / "out"
    (out / "clips").mkdir(parents=True)
    write_video(out / "clips/c.mp4", images(2), 25)
    (out / "a.npz").write_text("[1]")
    before = (out / "clips/c.mp4").read_bytes()
    reasons = {result.name: result.reason for result in resize_table(data, out, SMALL, 1)}
    assert "was not made by transm3e resize" in reasons["clips/c.avi"]
    assert "a.npz: exists and is not a copy of" in reasons["a.npz"]
    assert (out / "clips/c.mp4").read_bytes() == before
    (out / "clips.csv").write_text("mine")
    with pytest.raises(UserError, match="is not the table of"):
        resize_table(data, out, SMALL, 1)
    assert (out / "clips.csv").read_text() == "mine"


def test_flow_is_not_scaled_like_pictures(tmp_path):
    (tmp_path / "in").mkdir()
    mark = {"made_by": "transm3e flow", "bound": 20.0}
    write_flow_video(tmp_path / "in/a.mp4", np.full((3, 64, 64, 2), 128, np.uint8), Fraction(25), mark)
    (result,) = resize_folder(tmp_path / "in", tmp_path / "out", SMALL, 1)
    assert result.reason.startswith("holds optical flow")
    assert not list((tmp_path / "out").iterdir())


def test_old_damaged_and_otherwise_made_files_are_made_again(tmp_path):
    source, made = tmp_path / "in", tmp_path / "out/a.mp4"
    source.mkdir()
    write_video(source / "a.mov", images(5), 25)

    def call(settings=SMALL):
        return statuses(resize_folder(source, tmp_path / "out", settings, 1))["a.mov"]

    assert [call(), call()] == ["made", "kept"]
    assert call(ResizeSettings(short_side=48)) == "made"
    assert call() == "made"
    content = made.read_bytes()
    made.write_bytes(content.replace(b'"frames": 5', b'"frames": 9'))
    assert [call(), call()] == ["made", "kept"]
    later = made.stat().st_mtime + 5
    os.utime(source / "a.mov", (later, later))
    assert call() == "made"


def test_the_source_is_not_written_into(data, tmp_path):
    for out in ["data", "data/small", "data/clips/../x"]:
        with pytest.raises(UserError, match="which is only read"):
            resize_table(data, tmp_path / out, SMALL, 1)
        with pytest.raises(UserError, match="which is only read"):
            resize_folder(data, tmp_path / out, SMALL, 1)


def test_settings_out_of_range_are_named():
    for settings in [(255,), (256, 0), (256, 12, 52), (8,)]:
        with pytest.raises(UserError, match=f" {settings[-1]}[:,]"):
            ResizeSettings(*settings)


@given(st.integers(2, 4000), st.integers(2, 4000), st.sampled_from([32, 224, 256]))
def test_sizes_are_even_and_never_larger(height, width, short_side):
    scaled = scaled_size(height, width, short_side)
    assert all(side % 2 == 0 and 2 <= side <= was for side, was in zip(scaled, (height, width), strict=True))
    if min(height, width) >= short_side:
        assert min(scaled) == short_side
        assert max(scaled) == pytest.approx(short_side * max(height, width) / min(height, width), abs=1.001)
    else:
        assert scaled == (height - height % 2, width - width % 2)


@given(st.lists(st.from_regex(r"[ab]/[cd](\.mp4|\.avi|\.1)?", fullmatch=True), min_size=1, unique=True))
def test_names_stay_apart_and_say_their_kind(paths):
    names = target_names(paths, ".mp4")
    assert list(names) == paths
    assert len(set(names.values())) == len(paths)
    for path, name in names.items():
        assert name.endswith(".mp4")
        assert name.startswith(path.removesuffix(".mp4").removesuffix(".avi"))


def test_names_that_cannot_be_told_apart_are_refused():
    with pytest.raises(UserError, match=r"a\.avi, a\.avi\.mkv would both become a\.avi\.mp4"):
        target_names(["a.avi", "a.mp4", "a.avi.mkv"], ".mp4")


def test_skeletons_that_do_not_say_their_size_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "clips.csv").write_text(
        "path,split,activity,muscles,skeleton\na.mp4,train,squat,biceps,a.json\n"
    )
    with pytest.raises(UserError, match=r"^skeleton a\.json does not record the size .*extract_skeleton\.py"):
        resize_table(tmp_path / "in", tmp_path / "out", SMALL, 1)
    assert not (tmp_path / "out").exists()
