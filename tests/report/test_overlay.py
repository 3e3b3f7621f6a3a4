"""Overlay videos: times, sound, rotation and the drawing itself."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from transm3e.data.annotations import MUSCLES
from transm3e.data.encode import write_frames, write_video
from transm3e.errors import UserError
from transm3e.report.overlay import SIZE, Layout, ScoresOverTime, write_overlay

OVER_TIME = ScoresOverTime(
    np.array([0.0, 1.0, 2.0]),
    np.array([2.0, 3.0, 4.0]),
    np.linspace(0, 1, 60, dtype=np.float32).reshape(3, 20),
    MUSCLES,
)


def read(file):
    with av.open(str(file)) as container:
        return [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def with_sound(path, rate=8000, seconds=2):
    """A video of 10 frames per second in which a tone of 440 Hz sounds, as cameras write it to MOV files (PCM)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=rate)
        sound.codec_context.layout = "mono"
        for _ in range(10 * seconds):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
        wave = (20000 * np.sin(2 * np.pi * 440 * np.arange(rate * seconds) / rate)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))


def test_window_of_a_time_is_the_one_with_the_nearest_centre():
    assert OVER_TIME.edges.tolist() == [0, 1.5, 2.5, 4]
    assert [OVER_TIME.at(second) for second in (0, 1.4, 1.6, 2.4, 2.6, 4, 99)] == [0, 0, 1, 1, 2, 2, 2]


def test_frames_keep_their_times_and_the_cursor_moves(tmp_path):
    """A phone's variable frame rate."""
    pts = [0, 40, 80, 200, 240, 1000]
    frames = [av.VideoFrame.from_ndarray(np.full((48, 64, 3), 200, np.uint8), format="rgb24") for _ in pts]
    for frame, time in zip(frames, pts, strict=True):
        frame.pts, frame.time_base = time, Fraction(1, 1000)
    write_frames(tmp_path / "a.mp4", frames, 6, {"crf": "0"}, Fraction(1, 1000))
    write_overlay(tmp_path / "a.mp4", tmp_path / "b.mp4", OVER_TIME)
    written = read(tmp_path / "b.mp4")
    assert np.allclose([time for time, _ in written], np.array(pts) / 1000, atol=1e-4)
    assert written[0][1].shape == (SIZE[1], SIZE[0], 3)
    box = Layout.of(48, 64).timeline
    # On the white margin between the timeline and its seconds there is only the cursor.
    rows = [image[box.y + 4 : box.y + 6, 100:1200].mean(axis=(0, 2)) for _, image in written]
    cursors = [int(row.argmin()) for row in rows]
    assert cursors == sorted(cursors)
    assert cursors[-1] > cursors[0] + 200


def test_sound_stays_with_its_picture(tmp_path):
    with_sound(tmp_path / "a.mov")
    write_overlay(tmp_path / "a.mov", tmp_path / "b.mp4", OVER_TIME)
    with av.open(str(tmp_path / "b.mp4")) as container:
        samples = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
        rate = container.streams.audio[0].rate
    assert abs(len(samples) / rate - 2) < 0.1
    middle = samples[rate // 2 : rate // 2 + rate]
    assert abs(np.abs(np.fft.rfft(middle)).argmax() - 440) <= 1
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert len(list(container.decode(video=0))) == 20


def test_upright_video_fills_the_left_side(tmp_path):
    write_video(tmp_path / "a.mp4", np.full((4, 96, 54, 3), (255, 0, 0), np.uint8), 2)
    write_overlay(tmp_path / "a.mp4", tmp_path / "b.mp4", OVER_TIME)
    image = read(tmp_path / "b.mp4")[0][1].astype(int)
    assert (image[360, 210] - [255, 0, 0] < 20).all()
    assert image[10:-10, 10:400, 0].min() > 200


def test_gif_and_activities(tmp_path):
    """Activities have bars and no body."""
    from PIL import Image

    write_video(tmp_path / "a.mp4", np.zeros((20, 48, 64, 3), np.uint8), 20)
    scores = ScoresOverTime(np.zeros(1), np.ones(1), np.array([[0.2, 0.8]], np.float32), ("run", "rest"))
    write_overlay(tmp_path / "a.mp4", tmp_path / "b.gif", scores)
    assert Image.open(tmp_path / "b.gif").n_frames == 8


def test_bad_output_leaves_nothing(tmp_path):
    write_video(tmp_path / "a.mp4", np.zeros((2, 48, 64, 3), np.uint8), 2)
    with pytest.raises(UserError, match=r"b\.avi: unknown suffix; allowed: \.mp4, \.gif"):
        write_overlay(tmp_path / "a.mp4", tmp_path / "b.avi", OVER_TIME)
    with pytest.raises(UserError, match=r"no such folder|cannot be written|No such file"):
        write_overlay(tmp_path / "a.mp4", tmp_path / "none" / "b.mp4", OVER_TIME)
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]
