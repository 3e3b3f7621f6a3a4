"""Every frame number, the right image: videos of every kind against plain decoding from the start.

`make test` takes a part of them; all, with a table: python -m tests.data.test_odd_videos
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path

import av
import numpy as np
import pytest

from tests.data.odd_videos import Odd, combinations, make
from tests.data.test_orientation import shown
from transm3e.data.decode import DecodeError, Video

ALL = combinations()
SHORT = 45
WHOLE = bool(os.environ.get("TRANSM3E_ODD_VIDEOS"))
FFMPEG = shutil.which("ffmpeg")


def sequential(path: Path, odd: Odd) -> list[np.ndarray] | None:
    """The frames as PyAV decodes them one after the other; None where it cannot."""
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            return [shown(frame.to_ndarray(format="rgb24"), odd.matrix) for frame in container.decode(stream)]
    except av.FFmpegError:
        return None


def by_program(path: Path, size: tuple[int, int]) -> np.ndarray:
    """The frames as the ffmpeg program shows them -> (T, H, W, 3)."""
    command = [FFMPEG, "-v", "error", "-i", str(path), "-map", "0:v:0", "-fps_mode", "passthrough"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    content = subprocess.run(command, capture_output=True, check=False).stdout
    return np.frombuffer(content, np.uint8).reshape(-1, *size, 3)


def check(odd: Odd, folder: Path, reads: int, program: bool = False) -> str:
    """Write one and read it by number -> what is wrong, "" for nothing."""
    path = make(odd, folder)
    expected = sequential(path, odd)
    if not expected:
        try:
            with closing(Video(path)) as video:
                video.frames([0])
        except DecodeError:
            return ""
        return "plain decoding shows nothing, and this does"
    rng = np.random.default_rng(len(expected))
    count = len(expected)
    asked = [[int(n)] for n in rng.permutation(count)[:reads]]
    asked += [(int(rng.integers(count)) + 4 * np.arange(4)).clip(0, count - 1).tolist(), list(range(count))]
    for numbers in asked:
        try:
            with closing(Video(path)) as video:
                if video.num_frames != count:
                    return f"{video.num_frames} frames instead of {count}"
                times = video.seconds
                got = video.frames(numbers)
        except DecodeError as error:
            return f"refused: {error.reason}"
        if times is not None and (len(times) != count or (np.diff(times) <= 0).any()):
            return "times do not increase"
        wrong = [n for n, image in zip(numbers, got, strict=True) if not np.array_equal(image, expected[n])]
        if wrong:
            return f"frames {wrong} of {numbers} are not those of plain decoding"
    # Of files that do not begin with a keyframe the program shows damaged frames, too.
    return _against_program(path, np.stack(expected)) if program and odd.change != "late" else ""


def _against_program(path: Path, ours: np.ndarray) -> str:
    theirs = by_program(path, ours.shape[1:3])
    if len(theirs) != len(ours):
        return f"the ffmpeg program shows {len(theirs)} frames, not {len(ours)}"
    distances = np.abs(ours[:, None, ::2, ::2].astype(np.int16) - theirs[None, :, ::2, ::2]).mean((2, 3, 4))
    wrong = np.flatnonzero(distances.argmin(1) != np.arange(len(ours)))
    return f"the ffmpeg program shows other frames at {wrong.tolist()}" if len(wrong) else ""


@pytest.mark.parametrize("odd", ALL if WHOLE else ALL[:SHORT], ids=str)
def test_frames_by_number_are_those_of_plain_decoding(odd: Odd, tmp_path: Path) -> None:
    assert check(odd, tmp_path, 10 if WHOLE else 4, WHOLE and bool(FFMPEG)) == ""


def main() -> int:
    """Read all of them and print a table of codecs and containers."""
    seen: Counter[tuple[str, str]] = Counter()
    bad: dict[tuple[str, str], list[str]] = {}
    for odd in ALL:
        with tempfile.TemporaryDirectory() as folder:
            key = (odd.codec, odd.container)
            seen[key] += 1
            if fault := check(odd, Path(folder), 10, bool(FFMPEG)):
                bad.setdefault(key, []).append(fault)
                print(f"{odd}: {fault}", file=sys.stderr)
    containers = sorted({container for _, container in seen})
    print(f"{sum(seen.values())} videos, {sum(map(len, bad.values()))} with a fault\n")
    print("| codec | " + " | ".join(containers) + " |")
    print("|---|" + "---|" * len(containers))
    for codec in dict.fromkeys(codec for codec, _ in sorted(seen)):
        cells = [_cell(seen[codec, each], len(bad.get((codec, each), ()))) for each in containers]
        print(f"| {codec} | " + " | ".join(cells) + " |")
    return bool(bad)


def _cell(count: int, faults: int) -> str:
    return "" if not count else f"{count - faults} of {count}" if faults else str(count)


if __name__ == "__main__":
    sys.exit(main())
