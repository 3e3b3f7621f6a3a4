"""A picture of MuscleSynth for people: some activities, a few frames of each, and their muscles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from transm3e.data.annotations import MUSCLES
from transm3e.errors import UserError
from transm3e.files import atomic_path
from transm3e.prepare.musclesynth.activities import KNOWN, NEW, Activity
from transm3e.prepare.musclesynth.clip import HEIGHT, WIDTH, make_clip

ROWS = 7
TIMES = (0, 6, 12, 18)  # frames shown of each clip
CAPTION = 30  # pixels under each strip
GAP = 8
INK, FAINT, NEW_INK, PAPER = (35, 35, 40), (110, 110, 120), (190, 60, 20), (255, 255, 255)
# Postures of all kinds, single exercises and combinations; the new ones last.
CHOSEN = (
    "bench_bench_press",
    "hang_pull_up",
    "dip_dip",
    "plank_push_up",
    "seat_pulldown",
    "stand_deadlift",
    "machine_leg_press",
    "bridge_hip_bridge",
    "fours_hip_extension",
    "side_hip_abduction",
    "stand_row_squat",
    "lunge_split_squat",
    "side_plank_side_plank_hold",
    "supine_crunch_leg_raise",
)


def write_contact_sheet(path: str | Path, seed: int = 0) -> None:
    """Draw a PNG of example clips, new activities last and marked.

    Raises:
        UserError: the name does not end in .png, or the file cannot be written.
    """
    file = Path(path)
    if file.suffix != ".png":
        raise UserError(f"contact sheet {file}: allowed is a name that ends in .png")
    done, picture = cv2.imencode(".png", contact_sheet(seed)[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    assert done, "OpenCV encodes any 8-bit RGB picture as PNG"
    with atomic_path(file) as partial:
        partial.write_bytes(picture.tobytes())


def contact_sheet(seed: int = 0) -> np.ndarray:
    """The picture as (H, W, 3) uint8 RGB."""
    by_name = {activity.key: activity for activity in (*KNOWN, *NEW)}
    cells = [_cell(by_name[name], (seed, 10**6 + number)) for number, name in enumerate(CHOSEN)]
    columns = [np.vstack(cells[first : first + ROWS]) for first in range(0, len(cells), ROWS)]
    gap = np.full((len(columns[0]), GAP, 3), PAPER, np.uint8)
    sheet = np.hstack([part for column in columns for part in (gap, column)] + [gap])
    # 32 levels per channel are enough to look at and make a far smaller file.
    return np.ascontiguousarray(np.where(sheet < 252, sheet & 0xF8, sheet))


def _cell(activity: Activity, key: Sequence[int]) -> np.ndarray:
    frames = make_clip(activity, key).frames
    assert frames is not None
    strip = np.hstack([cv2.medianBlur(frames.frame(time), 3) for time in TIMES])
    caption = np.full((CAPTION, WIDTH * len(TIMES), 3), PAPER, np.uint8)
    title = f"{activity.posture}: {' + '.join(activity.primitives)}".replace("_", " ")
    _write(caption, f"{title}  (new)" if activity.new else title, 11, 0.42, NEW_INK if activity.new else INK)
    muscles = ", ".join(MUSCLES[muscle] for muscle in activity.muscles).replace("_", " ")
    _write(caption, muscles, 25, 0.38, FAINT)
    assert strip.shape[0] == HEIGHT
    return np.vstack([strip, caption])


def _write(picture: np.ndarray, text: str, y: int, scale: float, colour: tuple[int, int, int]) -> None:
    cv2.putText(picture, text, (2, y), cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)
