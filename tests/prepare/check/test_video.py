import csv
import re
import wave
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from transm3e.data.decode import count_frames
from transm3e.data.encode import write_video
from transm3e.prepare.check import inspect_video

REAL = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "clips"


def noise(frames=20, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (frames, 48, 64, 3), np.uint8)


def write_as(path, codec, options=None, frames=20):
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for image in noise(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def cut(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv"])
def test_good_videos_have_facts_and_no_fault(tmp_path, name):
    file = write_as(tmp_path / name, "mpeg4" if name.endswith("avi") else "libx264")
    assert inspect_video(file, "none").fault == ""
    first, every = (inspect_video(file, decode) for decode in ("first", "all"))
    for facts in (first, every):
        assert (facts.fault, facts.frames, facts.width, facts.height, facts.rotation) == ("", 20, 64, 48, 0)
        assert facts.codec == ("mpeg4" if name.endswith("avi") else "h264")
        assert facts.rate == pytest.approx(10)
        assert facts.seconds == pytest.approx(2)
        assert facts.size == file.stat().st_size
        assert not facts.variable
    assert first.content == every.content != ""
    assert (first.fingerprint == "", every.fingerprint == "") == (True, False)


@pytest.mark.parametrize("decode", ["first", "all"])
def test_cut_files_are_found_in_every_container(tmp_path, decode):
    at_end = write_as(tmp_path / "at_end.mp4", "libx264")
    assert "cannot be decoded" in inspect_video(cut(at_end, 0.7), decode).fault
    for share in (0.6, 0.99):
        at_start = write_as(tmp_path / "at_start.mp4", "libx264", {"movflags": "faststart"})
        assert "truncated" in inspect_video(cut(at_start, share), decode).fault
    for name, codec in (("a.avi", "mpeg4"), ("a.mkv", "libx264")):
        assert "truncated" in inspect_video(cut(write_as(tmp_path / name, codec), 0.6), decode).fault


def test_an_avi_that_lost_its_last_frames_is_told_by_its_header(tmp_path):
    file = write_as(tmp_path / "a.avi", "mpeg4")
    with av.open(str(file)) as container:
        last = [packet.pos for packet in container.demux(video=0) if packet.size][-1]
    file.write_bytes(file.read_bytes()[:last])
    assert inspect_video(file, "first").fault == "truncated: 19 of 20 frames are there"


def test_only_decoding_all_finds_damage_in_the_middle(tmp_path):
    file = write_as(tmp_path / "a.mp4", "libx264", frames=40)
    data = bytearray(file.read_bytes())
    for i in range(len(data) // 2, len(data) * 3 // 4, 301):
        data[i] ^= 0x55
    file.write_bytes(data)
    assert inspect_video(file, "first").fault == ""
    assert re.search("decoded frames are damaged|cannot be decoded after", inspect_video(file, "all").fault)


def test_what_is_no_video(tmp_path):
    with wave.open(str(tmp_path / "sound.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(1600))
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "folder").mkdir()
    assert "no video stream" in inspect_video(tmp_path / "sound.wav", "first").fault
    assert "cannot be decoded" in inspect_video(tmp_path / "text.mp4", "first").fault
    assert "empty" in inspect_video(tmp_path / "empty.mp4", "all").fault
    assert "holds no images" in inspect_video(tmp_path / "folder", "first").fault
    for decode in ("first", "none"):
        assert inspect_video(tmp_path / "missing.mp4", decode).fault == "file does not exist"


def test_a_folder_of_images_has_no_clock(tmp_path):
    for number, image in enumerate(noise(5), 1):
        cv2.imwrite(str(tmp_path / f"img_{number:05d}.png"), image)
    facts = inspect_video(tmp_path, "all")
    assert (facts.fault, facts.frames, facts.width, facts.height) == ("", 5, 64, 48)
    assert (facts.seconds, facts.codec) == (0, "pictures")
    assert facts.fingerprint
    (tmp_path / "img_00003.png").write_bytes(b"no picture")
    assert inspect_video(tmp_path, "first").fault == ""
    assert inspect_video(tmp_path, "all").fault.startswith("img_00003.png is not an image; allowed: .jpg")


def test_a_video_of_one_frame(tmp_path):
    write_video(tmp_path / "a.mp4", noise(1), 10)
    facts = inspect_video(tmp_path / "a.mp4", "all")
    assert (facts.fault, facts.frames) == ("", 1)


@pytest.mark.skipif(not REAL.is_dir(), reason="../shared/data/clips is absent")
def test_real_videos_are_what_their_table_says():
    with (REAL / "clips.csv").open(newline="", encoding="utf-8") as lines:
        rows = {row["file"]: row for row in csv.DictReader(lines)}
    assert len(rows) > 30
    for name, row in rows.items():
        facts = inspect_video(REAL / name, "all" if int(row["bytes"]) < 150_000 else "first")
        assert facts.fault == "", name
        assert facts.frames == count_frames(REAL / name)
        assert (facts.codec, facts.size) == (row["codec"], int(row["bytes"]))
        size = tuple(int(side) for side in row["size_px"].split("x"))
        assert (facts.width, facts.height) == (size[::-1] if facts.rotation % 180 else size), name
        assert facts.rotation % 180 == int(row["rotation"]) % 180
        # The table tells the rate of this XviD by the decoder's clock, whose stamps are uneven.
        if name != "v_ApplyEyeMakeup_g01_c01.avi":
            assert facts.variable == (row["vfr"] == "yes"), name
