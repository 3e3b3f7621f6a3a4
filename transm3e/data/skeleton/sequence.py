"""The joints of all persons in a video, frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from transm3e.data.decode import DecodeError
from transm3e.errors import UserError
from transm3e.joints import LAYOUTS

# Number of joints of a detector -> layout. Whole-body models list the body's joints first.
LAYOUT_OF_JOINTS = {17: "coco17", 133: "coco17", 18: "openpose18", 26: "halpe26", 136: "halpe26", 33: "blazepose33"}
# Both the Kinect's joints (NTU-25) and OpenPose's BODY_25, so a file must state its layout.
AMBIGUOUS_JOINTS = 25
LANDMARKS = 33  # of MediaPipe
# Tolerated difference in the number of frames: programs count a video's frames differently.
FRAMES_APART, SHARE_APART = 2, 0.02
# In a file without a frame count, at least this share of the video must lie before its last detection.
COVERED_SHARE = 0.75


@dataclass(frozen=True)
class Skeleton:
    """All persons of a video.

    Attributes:
        points: (N frames, P slots, V joints, 3) float32: x and y in pixels, score in [0, 1]; a joint or person that
            was not found is all zeros. A slot is a position in the file, not a person.
        layout: one of transm3e.joints.LAYOUTS; V joints in its order.
        height, width: of the frames in which x and y are measured, in pixels; None: the video's.
        tracks: (N, P) int64, equal numbers are one person; -1 for nobody. None: not in the file.
        open_ended: the file does not state the number of frames; N ends with the last detection.
        units: of x and y, "pixels", or "shares" of width and height as long as the frame size is unknown; see
            transm3e.data.skeleton.units.
        world: (N, P, V, 3) float32 the same joints in metres, if the detector gives them, relative to the middle of the
            hips: x to the right, y down, z away from the camera.
    """

    points: np.ndarray
    layout: str
    height: int | None = None
    width: int | None = None
    tracks: np.ndarray | None = None
    open_ended: bool = False
    units: str = "pixels"
    world: np.ndarray | None = None

    @property
    def num_frames(self) -> int:
        return len(self.points)

    def joints(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Frames by number, 0 or more -> (T, P, V, 3) float32, as `points`.

        A number past the end means the last frame, or, if the file is open-ended, a frame without persons.
        """
        return self._take(self.points, indices, 0)

    def world_joints(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """The same frames of `world` -> (T, P, V, 3) float32.

        Raises:
            UserError: the file has no 3D joints.
        """
        if self.world is None:
            raise UserError(
                "holds no 3D joints; detect them by datasets/extract_skeleton.py --detector blazepose, or set "
                "SKELETON.COORDINATES image"
            )
        return self._take(self.world, indices, 0)

    def track_numbers(self, indices: Sequence[int] | np.ndarray) -> np.ndarray | None:
        """The same frames of `tracks` -> (T, P) int64, or None."""
        return None if self.tracks is None else self._take(self.tracks, indices, -1)

    def _take(self, values: np.ndarray, indices: Sequence[int] | np.ndarray, nobody: int) -> np.ndarray:
        wanted = np.asarray(indices, np.int64)
        assert (wanted >= 0).all(), f"frames {wanted}"
        taken = values[np.minimum(wanted, self.num_frames - 1)]
        if self.open_ended:
            taken[wanted >= self.num_frames] = nobody
        return taken


def layout_of(count: int, path: str, said: str = "") -> str:
    """The layout of a file's joints, by their number and the layout that the file states; 25 joints require the latter.

    Args:
        count: joints per person.
        path: of the file, for messages.
        said: the layout stated in the file, a key of transm3e.joints.LAYOUTS; "" if none is.

    Raises:
        DecodeError: no layout has so many joints, the stated one has another number, or 25 joints without a layout.
    """
    is_said = said in LAYOUTS and len(LAYOUTS[said].names) == count
    fits = LAYOUT_OF_JOINTS.get(count) or (said if is_said else "")
    if fits and said in ("", fits):
        return fits
    if said:
        allowed = ", ".join(f"{layout} ({len(joints.names)})" for layout, joints in LAYOUTS.items())
        raise DecodeError(path, f"{count} joints per person do not fit its layout {said[:40]!r}; allowed: {allowed}")
    if count == AMBIGUOUS_JOINTS:
        raise DecodeError(
            path,
            "25 joints per person are NTU-25 or OpenPose's BODY_25; add layout='ntu25' to the pickle or npz, or give "
            "OpenPose's own files, of which 18 joints are read",
        )
    allowed = ", ".join(f"{joints} ({layout})" for joints, layout in LAYOUT_OF_JOINTS.items())
    raise DecodeError(
        path, f"{count} joints per person; allowed: {allowed}, 25 (ntu25) where the file names its layout"
    )


def check_frames(skeleton: Skeleton, video_frames: int, path: str) -> None:
    """Refuse a skeleton of another video, or of another frame rate.

    A difference of up to max(2 frames, 2 %) is accepted, as programs count frames differently. A file without a frame
    count (open-ended) has no entries for frames without people, so it may also end early, but not before three quarters of
    the video: an earlier end suggests another frame rate.

    Args:
        video_frames: number of frames of the clip.
        path: of the skeleton file, for the message.

    Raises:
        DecodeError: the counts do not match.
    """
    apart = max(FRAMES_APART, SHARE_APART * video_frames)
    early = (1 - COVERED_SHARE) * video_frames if skeleton.open_ended else 0
    if -max(apart, early) <= skeleton.num_frames - video_frames <= apart:
        return
    reason = f"ends at frame {skeleton.num_frames}" if skeleton.open_ended else f"has {skeleton.num_frames} frames"
    if skeleton.open_ended and skeleton.num_frames < video_frames:
        remedy = "or, if nobody is visible after that, convert it with datasets/extract_skeleton.py --open-end"
    else:
        remedy = "or correct the clip table"
    raise DecodeError(
        path, f"{reason}, its video has {video_frames}; run the detector on this very video, every frame, {remedy}"
    )
