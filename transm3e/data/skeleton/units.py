"""Units and scale of a skeleton file's numbers: given by its format or declared by the user, checked here, never guessed.

A file whose numbers contradict its units is refused, with the values found and how to convert it: scaling single clips by
a guess would make them inconsistent with the others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from transm3e.data.decode import DecodeError
from transm3e.data.skeleton.sequence import Skeleton
from transm3e.joints import LAYOUTS

PIXELS, SHARES, CENTRED = "pixels", "shares", "centred"
# Of x and y: pixels; or 0 to 1, or -1 to 1, from the frame's left and upper edge to the opposite one.
UNITS = (PIXELS, SHARES, CENTRED)
# Scores slightly above 1 are heat-map peaks and are clipped; a share of OUTLIERS may be higher.
OVERSHOOT, OUTLIERS = 1.5, 0.01
# Pixels; a body of this size is too small to show an action.
SPECK = 2.0
# If a larger share of the joints is outside the frame, they were measured in a frame of another size.
INSIDE_SHARE = 0.5
# Width and height are considered swapped if more than the first share of joints is outside the frame, and less than the
# second outside the swapped frame.
SWAPPED_OUTSIDE, SWAPPED_INSIDE = 0.1, 0.01
# Thresholds for two frames' width / height to be equal or different, as difference of logarithms.
SAME_SHAPE, OTHER_SHAPE = 0.03, 0.1
CONVERT = "convert the dataset with datasets/extract_skeleton.py --from FOLDER"


@dataclass(frozen=True)
class Declared:
    """What the user declares about all files of a dataset.

    Attributes:
        units: of x and y, one of UNITS; "" = those of the format.
        score_scale: divisor of scores.
        size: (height, width) in pixels of the frames that the detector processed, overriding the files; None: as in the
            files, or the video's.
    """

    units: str = ""
    score_scale: float = 1.0
    size: tuple[int, int] | None = None


AS_IS = Declared()


def clean(raw: Skeleton, said: Declared, path: str) -> Skeleton:
    """A skeleton as in the file -> body joints, scores in [0, 1], missing joints zero; without a frame size if the file
    has none.

    Scores are divided by the declared scale and clipped to [0, 1]. A joint with a score of 0 or less, or at exactly
    (0, 0), is missing; in units of -1 to 1, where (0, 0) is the middle of the frame, only the score counts.

    Raises:
        DecodeError: NaN or infinite numbers; scores on another scale; coordinates in other units than those of the format
            or the declared ones, or mostly outside the frame.
    """
    with np.errstate(over="ignore"):  # infinite values are refused below
        count = len(LAYOUTS[raw.layout].names)
        points = np.array(raw.points[..., :count, :], np.float32)
        world = None if raw.world is None else np.array(raw.world[..., :count, :], np.float32)
    if not np.isfinite(points).all() or (world is not None and not np.isfinite(world).all()):
        raise DecodeError(path, "holds NaN or infinite numbers; run the detector on this clip again")
    units = said.units or raw.units
    score = points[..., 2]
    score /= said.score_scale
    found = (score > 0) & ((units == CENTRED) | (points[..., 0] != 0) | (points[..., 1] != 0))
    joints = points[found]
    _check_scores(joints[:, 2], path)
    np.clip(joints[:, 2], 0, 1, out=joints[:, 2])
    if units == CENTRED:
        joints[:, :2] = (joints[:, :2] + 1) / 2
    points = np.zeros_like(points)
    points[found] = joints
    height, width = said.size or (raw.height, raw.width)
    skeleton = replace(
        raw, points=points, world=world, height=height, width=width, units=PIXELS if units == PIXELS else SHARES
    )
    if units == PIXELS:
        _check_pixels(joints, int(found.sum(axis=-1).max(initial=0)), path)
    if skeleton.units == SHARES or height:
        _check_inside(skeleton, joints, path)
    return _in_pixels(skeleton, height, width) if skeleton.units == SHARES and height and width else skeleton


def fit_video(skeleton: Skeleton, video: tuple[int, int], path: str) -> Skeleton:
    """A skeleton in pixels of frames of a known size: that of the file, else the video's.

    Args:
        video: (height, width) of the video's frames in pixels.

    Raises:
        DecodeError: the joints are mostly outside the frame; or the file's frame size is the video's with width and height
            swapped.
    """
    if skeleton.height and skeleton.width:
        _check_shape((skeleton.height, skeleton.width), video, path)
        return skeleton
    height, width = video
    if skeleton.units == SHARES:
        return _in_pixels(skeleton, height, width)
    fitted = replace(skeleton, height=height, width=width)
    _check_inside(fitted, skeleton.points[skeleton.points[..., 2] > 0], path)
    return fitted


def _in_pixels(skeleton: Skeleton, height: int, width: int) -> Skeleton:
    """Convert shares to pixels: share 0 is the edge of the first pixel, half a pixel before its centre."""
    points = skeleton.points.copy()
    points[..., :2] = points[..., :2] * np.array([width, height], np.float32) - 0.5
    points[points[..., 2] == 0] = 0
    return replace(skeleton, points=points, height=height, width=width, units=PIXELS)


def _check_scores(scores: np.ndarray, path: str) -> None:
    above = scores > OVERSHOOT
    if above.sum() > max(1, OUTLIERS * scores.size):
        raise DecodeError(
            path,
            f"{above.mean():.0%} of its joint scores are above {OVERSHOOT}, up to {scores.max():.3g}: another scale than "
            f"0 to 1; {CONVERT} --score-scale N, the highest score that the detector gives (6: AlphaPose's old COCO "
            "models, 2: COCO's flags of visibility)",
        )


def _check_pixels(joints: np.ndarray, of_person: int, path: str) -> None:
    """Check all joints found; `of_person` is the largest number of joints of one person in a frame."""
    if not len(joints):
        return
    x, y, _ = joints.T
    low, high = (x.min(), y.min()), (x.max(), y.max())
    in_corner = np.mean((np.abs(x) <= SPECK) & (np.abs(y) <= SPECK)) > INSIDE_SHARE
    # A single joint, or the two eyes, may be that small.
    if in_corner or (of_person > 2 and max(high[0] - low[0], high[1] - low[1]) <= SPECK):
        raise DecodeError(
            path,
            f"its joints lie in x {low[0]:.3g} to {high[0]:.3g} and y {low[1]:.3g} to {high[1]:.3g}, which are not pixels; "
            f"{CONVERT} --units {SHARES} (0 to 1, as OpenPose's --keypoint_scale 3) or {CENTRED} (-1 to 1, as 4)",
        )


def _check_inside(skeleton: Skeleton, joints: np.ndarray, path: str) -> None:
    """Check all joints found of a skeleton in shares, or of one with a frame size."""
    x, y, score = joints.T
    height, width = (skeleton.height or 1, skeleton.width or 1) if skeleton.units == PIXELS else (1, 1)

    def outside_of(high: int, wide: int) -> float:
        # Weighted by score: joints guessed beyond the edge have low scores.
        return float(np.average((x < 0) | (x >= wide) | (y < 0) | (y >= high), weights=score)) if len(x) else 0.0

    outside = outside_of(height, width)
    # Only to the right: legs are often below the frame, where the Kinect still detects them.
    if width < height and outside > SWAPPED_OUTSIDE and outside_of(width, height) < SWAPPED_INSIDE:
        raise DecodeError(
            path,
            f"{outside:.0%} of the joints lie outside {width}x{height} pixels, and all inside {height}x{width}: "
            f"img_shape is (height, width); correct it, or {CONVERT} --detector-size {height}x{width}",
        )
    if outside <= INSIDE_SHARE:
        return
    if skeleton.units == PIXELS:
        where, remedy = f"{width}x{height} pixels", "--detector-size WIDTHxHEIGHT, the size of the frames it saw"
    else:
        where, remedy = "the frame, as shares of it (0 to 1)", f"--units {PIXELS} or {CENTRED}, or give image landmarks"
    raise DecodeError(path, f"{outside:.0%} of the joints lie outside {where}; {CONVERT} {remedy}")


def _check_shape(size: tuple[int, int], video: tuple[int, int], path: str) -> None:
    own, other = (np.log(width / height) for height, width in (size, video))
    if abs(own - other) > OTHER_SHAPE and abs(own + other) < SAME_SHAPE:
        raise DecodeError(
            path,
            f"img_shape says frames {size[1]} wide and {size[0]} high, its video is {video[1]} wide and "
            f"{video[0]} high: it is (height, width); correct it, or {CONVERT} --detector-size "
            f"{size[0]}x{size[1]} (or detect again, if the detector processed the rotated video)",
        )
