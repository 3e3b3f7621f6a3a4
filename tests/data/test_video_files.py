"""Videos of a folder are told by what is in them; what is passed over is counted."""

import os
import wave
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from transm3e.config import get_cfg
from transm3e.data import build_videos
from transm3e.data.video_files import videos_below

PICTURE = np.full((32, 32, 3), 99, np.uint8)


def write(file: Path, kind: str, codec: str, pixels: str = "yuv420p", frames: int = 6) -> None:
    with av.open(str(file), "w", format=kind) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width = stream.height = 32
        stream.pix_fmt = pixels
        for i in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(PICTURE + np.uint8(20 * i), format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("films")
    (root / "deep").mkdir()
    write(root / "a.gif", "gif", "gif", "rgb8")
    write(root / "b.ps", "mpeg", "mpeg2video")
    write(root / "c.VOB", "vob", "mpeg2video")
    write(root / "deep/d.AVI", "avi", "mpeg4")
    write(root / "e", "mp4", "mpeg4")
    write(root / "f.mp4.part", "matroska", "mpeg4")
    (root / "broken.mp4").write_bytes(b"no video")
    (root / "broken.gif").write_bytes(b"GIF89a")
    for name, text in {
        "a.txt": "a\n" * 99,
        "a.csv": "a,b\n1,2\n",
        "a.srt": "1\n00:00:01,000 --> 00:00:02,000\na\n",
    }.items():
        (root / name).write_text(text)
    (root / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\na.gif\n")
    (root / "._b.ps").write_bytes((root / "b.ps").read_bytes())
    for name in ("a.jpg", "b.JPG", "c.png"):
        cv2.imwrite(str(root / name), PICTURE)
    np.save(root / "a.npy", np.random.default_rng(0).integers(0, 256, 99_999, np.uint8))
    with wave.open(str(root / "song.wav"), "wb") as song:
        song.setparams((1, 2, 8000, 0, "NONE", ""))
        song.writeframes(bytes(4000))
    os.symlink("nowhere", root / "gone.gif")
    return root


def test_videos_by_content_and_the_others_counted(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = [file.relative_to(folder).as_posix() for file in videos_below(folder)]
    assert found == ["a.gif", "b.ps", "broken.gif", "broken.mp4", "c.VOB", "deep/d.AVI", "e", "f.mp4.part"]
    [said] = [record.getMessage() for record in caplog.records]
    assert "ignored 10 files that are not videos (2 .jpg, 1 .csv, 1 .m3u8, 1 .npy, 1 .png, 1 .srt" in said
    caplog.clear()
    assert len(videos_below(folder / "deep")) == 1
    assert not caplog.records


def test_each_has_a_row_or_a_reason(folder: Path) -> None:
    cfg = get_cfg()
    cfg.DATA.NUM_FRAMES = cfg.DATA.SAMPLING_RATE = 2
    cfg.DATA.TEST_CROP_SIZE, cfg.TEST.BATCH_SIZE, cfg.DATA_LOADER.NUM_WORKERS = 32, 1, 0
    cfg.TEST.NUM_ENSEMBLE_VIEWS = 1
    batches = list(build_videos(cfg, folder).loader.epoch(0))
    assert [path for batch in batches for path in batch.paths] == [
        "a.gif",
        "b.ps",
        "c.VOB",
        "deep/d.AVI",
        "e",
        "f.mp4.part",
    ]
    assert [clip.path for batch in batches for clip in batch.failed] == ["broken.gif", "broken.mp4"]
