from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from transm3e.data import backends
from transm3e.data.backends import check_backend, open_source
from transm3e.data.decode import DecodeError
from transm3e.data.encode import write_video
from transm3e.errors import UserError


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "v.mp4"
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    write_video(path, [np.roll(image, 2 * i, 1) for i in range(30)], fps=25)
    return path


def others() -> list[str]:
    try:
        check_backend("torchcodec")
    except UserError:
        return ["opencv"]
    return ["opencv", "torchcodec"]


@pytest.mark.parametrize("backend", others())
def test_other_decoders_give_the_same_frames(video: Path, backend: str) -> None:
    wanted = [29, 3, 17, 3]
    with closing(open_source(video)) as ours, closing(open_source(video, backend)) as theirs:
        assert theirs.num_frames == ours.num_frames == 30
        np.testing.assert_allclose(theirs.seconds, ours.seconds, atol=1e-6)
        difference = np.abs(theirs.frames(wanted).astype(int) - ours.frames(wanted))
        assert difference.max() <= 1
        assert (theirs.frames([5]) == theirs.frames([5])).all()  # a second call starts again


@pytest.mark.parametrize("backend", others())
def test_files_that_are_no_video(tmp_path: Path, backend: str) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(DecodeError, match=r"text\.mp4"):
        open_source(tmp_path / "text.mp4", backend)


def test_opencv_notices_a_video_that_ends_early(video: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.avi"
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    import cv2

    writer = cv2.VideoWriter(str(cut), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for _ in range(20):
        writer.write(image)
    writer.release()
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    with pytest.raises(DecodeError, match=r"truncated|cannot be opened"):
        open_source(cut, "opencv").frames([19])


def test_a_decoder_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(backends, "import_module", missing)
    with pytest.raises(
        UserError, match=r"^DATA\.DECODING_BACKEND torchcodec: .*No module.*DATA\.DECODING_BACKEND pyav$"
    ):
        check_backend("torchcodec")
    check_backend("pyav")
    check_backend("opencv")
