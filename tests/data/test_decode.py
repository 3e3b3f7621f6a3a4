from contextlib import closing
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from transm3e.data import packets
from transm3e.data.container import warn_hdr_once
from transm3e.data.decode import DecodeError, Video, count_frames, decode_frames, decoded
from transm3e.data.encode import read_comment, write_video
from transm3e.prepare.check.video import inspect_video

CLIPS = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "clips"
REAL = sorted(path for path in CLIPS.glob("*.*") if path.suffix != ".csv")
X264 = {"crf": "25", "preset": "veryfast", "threads": "1"}


def moving(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    base = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    base = base.repeat(8, 0).repeat(8, 1)
    return [np.roll(base, 3 * i, 1) for i in range(count)]


def encode(
    path: Path, frames: list[np.ndarray], codec: str = "libx264", stamps: list[int] | None = None, **options: str
) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={**(X264 if codec == "libx264" else {}), **options})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        if stamps:
            stream.codec_context.time_base = Fraction(1, 1000)
        for i, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if stamps:
                frame.pts, frame.time_base = stamps[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def as_rgb(frame: av.VideoFrame) -> np.ndarray:
    return np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)


def decode_all(path: Path, limit: int | None = None) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        return list(islice(container.decode(stream), limit))


def check_spans(path: Path, spans: int, stride: int = 4, length: int = 16) -> None:
    """Spans over the whole file, the last frame among them, equal to decoding all of it and picking."""
    everything = decode_all(path)
    n = len(everything)
    assert count_frames(path) == n
    with closing(Video(path)) as video:
        for start in np.linspace(0, max(0, n - 1 - (length - 1) * stride), spans).round().astype(int):
            indices = np.minimum(start + stride * np.arange(length), n - 1)
            np.testing.assert_array_equal(video.frames(indices), np.stack([as_rgb(everything[i]) for i in indices]))


def refuse_counting(patch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("decoded from the start")

    patch.setattr(Video, "_by_count", refuse)


@pytest.mark.skipif(not REAL, reason="the shared clips are not here")
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_real_clips_equal_decoding_everything(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        large = stream.width * stream.height > 1e6 or stream.frames > 1000
        indexed = stream.codec_context.name in packets.ONE_FRAME_EACH
    if indexed:
        refuse_counting(monkeypatch)
    if large:  # the first frames only, for time and memory
        everything = decode_all(path, 24)
        np.testing.assert_array_equal(
            decode_frames(path, [3, 23, 7]), np.stack([as_rgb(everything[i]) for i in (3, 23, 7)])
        )
    else:
        check_spans(path, 2)


@pytest.mark.skipif(not REAL, reason="the shared clips are not here")
def test_rotation_agrees_with_opencv() -> None:
    import cv2

    path = CLIPS / "derived_rotate90_pose2sim_single_cam03.mp4"
    _, image = cv2.VideoCapture(str(path)).read()  # applies the rotation by itself
    np.testing.assert_array_equal(decode_frames(path, [0])[0], image[:, :, ::-1])


def test_written_videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_counting(monkeypatch)
    write_video(tmp_path / "v.mp4", moving(90), fps=25)
    check_spans(tmp_path / "v.mp4", 8, stride=2, length=9)


@pytest.mark.parametrize("stride", [1, 2, 4, 7])
def test_b_frames_open_gops_and_uneven_stamps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stride: int) -> None:
    refuse_counting(monkeypatch)
    options = {"x264-params": "open-gop=1:keyint=20:bframes=3:b-pyramid=normal"}
    check_spans(encode(tmp_path / "open.mp4", moving(80), **options), 10, stride=stride, length=6)
    uneven = np.cumsum(np.random.default_rng(0).integers(10, 90, 80)).tolist()
    check_spans(encode(tmp_path / "uneven.mkv", moving(80), stamps=uneven, **options), 10, stride=stride, length=6)


def test_intra_refresh_has_no_clean_entry_point(tmp_path: Path) -> None:
    options = {"x264-params": "intra-refresh=1:keyint=20:bframes=0"}
    check_spans(encode(tmp_path / "refresh.mp4", moving(80), **options), 10, stride=1, length=6)


@pytest.mark.parametrize(("codec", "name"), [("mpeg4", "a.avi"), ("mpeg4", "a.mp4"), ("mjpeg", "a.avi")])
def test_other_codecs_are_counted(tmp_path: Path, codec: str, name: str) -> None:
    options = {"bf": "2"} if codec == "mpeg4" else {"strict": "unofficial"}
    check_spans(encode(tmp_path / name, moving(50), codec, **options), 5, stride=3, length=5)


def test_only_the_span_is_decoded(tmp_path: Path) -> None:
    write_video(tmp_path / "v.mp4", moving(600), fps=25)  # x264's keyframes are 250 apart
    decoded = []

    class Spy(Video):
        def _timed(self, packets):
            for packet in super()._timed(packets):
                decoded.append(packet.pts)
                yield packet

    with closing(Spy(tmp_path / "v.mp4")) as video:
        decoded.clear()
        video.frames([505, 510])
    assert 10 <= len(decoded) <= 40


def test_spans_requested_together_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_counting(monkeypatch)
    options = {"x264-params": "keyint=50:scenecut=0:bframes=2"}
    path = encode(tmp_path / "v.mp4", moving(200), **options)
    everything = decode_all(path)
    starts = []
    original = Video._from_keyframe

    def spy(self: Video, entries: np.ndarray, *rest):
        starts.append(len(entries))
        return original(self, entries, *rest)

    monkeypatch.setattr(Video, "_from_keyframe", spy)
    indices = [160, 164, 168, 5, 9, 13, 8, 12, 16]
    got = decode_frames(path, indices)
    np.testing.assert_array_equal(got, np.stack([as_rgb(everything[i]) for i in indices]))
    assert starts == [1, 4]  # keyframes up to those that were begun at


def test_indices_may_repeat_and_come_in_any_order(tmp_path: Path) -> None:
    write_video(tmp_path / "v.mp4", moving(12), fps=25)
    everything = decode_all(tmp_path / "v.mp4")
    np.testing.assert_array_equal(
        decode_frames(tmp_path / "v.mp4", [9, 2, 9, 11, 11]),
        np.stack([as_rgb(everything[i]) for i in (9, 2, 9, 11, 11)]),
    )
    with pytest.raises(AssertionError):
        decode_frames(tmp_path / "v.mp4", [12])


def test_frames_the_decoder_never_yields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encode(tmp_path / "v.avi", moving(40), "mpeg4")
    with closing(Video(path)) as video:
        video.num_frames = 42  # as if two packets held no frame
        frames = video.frames([39, 41])
        np.testing.assert_array_equal(frames[0], frames[1])
        video.num_frames = 60
        with pytest.raises(DecodeError, match="only 40 of 60 frames can be decoded"):
            video.frames([59])


def sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def test_files_that_are_not_videos(tmp_path: Path) -> None:
    sound(tmp_path / "sound.mp4")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video\n" * 100)
    (tmp_path / "playlist.mp4").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n")
    reasons = {
        "sound.mp4": "no video stream",
        "empty.mp4": "empty",
        "text.mp4": "cannot be decoded: Invalid data",
        "playlist.mp4": "cannot be decoded",
        "missing.mp4": "no such file",
        ".": "no such file",
    }
    for name, reason in reasons.items():
        with pytest.raises(DecodeError, match=reason) as caught:
            count_frames(tmp_path / name)
        assert caught.value.path == str(tmp_path / name)
        assert str(caught.value) == f"{caught.value.path}: {caught.value.reason}"
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "front.mp4", "a.avi"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_truncated_files(tmp_path: Path, name: str, share: float) -> None:
    options = {"movflags": "faststart"} if name == "front.mp4" else {}
    path = tmp_path / name
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("mpeg4" if name == "a.avi" else "libx264", rate=25, options={"threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for image in moving(100):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    assert count_frames(path) == 100
    cut(path, share)
    with pytest.raises(DecodeError, match=r"truncated|cannot be decoded|no video"):
        decode_frames(path, [0, 4, 8])


def test_the_time_limit_names_the_file_and_the_key(tmp_path: Path) -> None:
    write_video(tmp_path / "v.mp4", moving(30), fps=25)
    with pytest.raises(DecodeError, match=r"v\.mp4: took longer than 0 s; raise DATA\.DECODE_TIMEOUT"):
        decode_frames(tmp_path / "v.mp4", [0], timeout=0)


def test_files_are_closed_even_after_errors(tmp_path: Path) -> None:
    write_video(tmp_path / "v.mp4", moving(30), fps=25)
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "v.mp4").read_bytes()[:-2000])
    handles = Path("/proc/self/fd")
    if not handles.is_dir():
        pytest.skip("needs /proc")
    before = len(list(handles.iterdir()))
    for _ in range(20):
        decode_frames(tmp_path / "v.mp4", [3, 5])
        for path, timeout in ((tmp_path / "cut.mp4", 9.0), (tmp_path / "v.mp4", 0.0)):
            with pytest.raises(DecodeError):
                decode_frames(path, [0], timeout)
    assert len(list(handles.iterdir())) <= before


def test_frame_times_are_stamps_or_counted(tmp_path: Path) -> None:
    uneven = [0, 30, 100, 130, 290, 300]
    with closing(Video(encode(tmp_path / "uneven.mp4", moving(6), stamps=uneven))) as video:
        np.testing.assert_allclose(video.seconds, np.array(uneven) / 1000, atol=1e-3)
    with closing(Video(encode(tmp_path / "xvid.avi", moving(6), codec="mpeg4"))) as video:
        np.testing.assert_allclose(video.seconds, np.arange(6) / 25)


def test_luma_is_read_as_coded(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mp4", moving(5))
    luma = [np.asarray(frame.planes[0]).reshape(48, -1)[:, :64] for frame in decode_all(path)]
    with closing(Video(path, pixel_format="gray")) as video:
        np.testing.assert_array_equal(video.frames([4, 0, 4]), np.stack([luma[4], luma[0], luma[4]]))


def test_a_tag_in_another_encoding_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "ZZZZ"
        stream = container.add_stream("libx264", rate=25, options=X264)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for image in moving(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    path.write_bytes(path.read_bytes().replace(b"ZZZZ", b"\xfc\xe4\xf6\xdf"))
    assert count_frames(path) == 4
    assert read_comment(path) == ""


def test_an_empty_packet_does_not_end_the_stream() -> None:
    class Packet:
        def __init__(self, size: int, dts: int | None) -> None:
            self.size, self.dts = size, dts

        def decode(self) -> list[int]:
            return [self.size]

    assert list(decoded([Packet(5, 0), Packet(0, 1), Packet(6, 2), Packet(0, None)])) == [5, 6, 0]


def test_hdr_is_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, curve in (("pq.mp4", 16), ("sdr.mp4", 1)):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream("libx264", rate=25, options=X264)
            stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p10le"
            stream.codec_context.color_trc = curve
            for image in moving(3):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
    warn_hdr_once.cache_clear()
    caplog.set_level("WARNING", "transm3e")
    count_frames(tmp_path / "sdr.mp4")
    assert not caplog.records
    for _ in range(2):
        count_frames(tmp_path / "pq.mp4")
    assert [record.getMessage() for record in caplog.records if "HDR" in record.getMessage()] == [caplog.messages[0]]
    assert [inspect_video(tmp_path / name, "first").hdr for name in ("pq.mp4", "sdr.mp4")] == [True, False]
