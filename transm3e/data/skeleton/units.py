"""What a skeleton file's numbers mean: said by its format or by the user, checked here, guessed nowhere.

A file whose numbers cannot be what they are taken for is refused, with what was seen and how to convert it: a clip that
was scaled by a guess of its own would be another clip than its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from transm3e.data.decode import DecodeError
from transm3e.data.skeleton.sequence import Skeleton
from transm3e.joints import LAYOUTS

PIXELS, SHARES, CENTRED = "pixels", "shares", "centred"
# Of x and y: pixels; 0 to 1, or -1 to 1, from the frame's left and upper edge to the other.
UNITS = (PIXELS, SHARES, CENTRED)
# Scores a little above 1 are heat-map peaks, and cut; single ones may be higher still.
OVERSHOOT, OUTLIERS = 1.5, 0.01
# Pixels; no body that an action can be seen on is so small.
SPECK = 2.0
# Of the joints found; more of them outside of the frame were measured in another.
INSIDE_SHARE = 0.5
# Sides are taken for exchanged where so many joints lie outside as they stand, and no more than so many if exchanged.
SWAPPED_OUTSIDE, SWAPPED_INSIDE = 0.1, 0.01
# The same of two frames' width / height, as the difference of logarithms.
SAME_SHAPE, OTHER_SHAPE = 0.03, 0.1
CONVERT = "convert the data set with datasets/extract_skeleton.py --from FOLDER"


@dataclass(frozen=True)
class Declared:
    """What the user says of all files of a data set.

    Attributes:
        units: of x and y, one of UNITS; "" = what the format says.
        score_scale: what scores are divided by.
        size: (height, width) in pixels of the frames that the detector saw, whatever the files say; None: what they say,
            or the video's.
    """

    units: str = ""
    score_scale: float = 1.0
    size: tuple[int, int] | None = None


AS_IS = Declared()


def clean(raw: Skeleton, said: Declared, path: str) -> Skeleton:
    """A skeleton as a file holds it -> body joints, scores in [0, 1], missing joints zero; still without a frame size
    where the file does not say one.

    Scores are divided by the declared scale and cut to [0, 1]. A joint with a score of 0 or less, or at exactly (0, 0),
    is missing; in units of -1 to 1, where that is the middle of the frame, the score alone counts.

    Raises:
        DecodeError: NaN or infinite numbers; scores that are on another scale; coordinates that are not in the units
            that the format or the user says, or mostly outside of the frame.
    """
    with np.errstate(over="ignore"):  # becomes infinite and is named below
        count = len(LAYOUTS[raw.layout].names)
        points = np.array(raw.points[..., :count, :], np.float32)
        world = None if raw.world is None else np.array(raw.world[..., :count, :], np.float32)
    if not np.isfinite(points).all() or (world is not None and not np.isfinite(world).all()):
        raise DecodeError(path, "holds numbers that are NaN or infinite; run the detector on this clip anew")
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
    """A skeleton in pixels of frames of a known size: its own, or the video's where its file does not say.

    Args:
        video: (height, width) of the video's frames in pixels.

    Raises:
        DecodeError: the joints lie mostly outside of the frame; the file's frames are the video's turned by 90 degrees,
            as where their sides were exchanged.
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
    """Of one in shares: 0 is the edge of the first pixel, half a pixel before its centre."""
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
    """Of all joints found, and the most of one person in a frame."""
    if not len(joints):
        return
    x, y, _ = joints.T
    low, high = (x.min(), y.min()), (x.max(), y.max())
    in_corner = np.mean((np.abs(x) <= SPECK) & (np.abs(y) <= SPECK)) > INSIDE_SHARE
    # One joint alone, or the two eyes, may be that small.
    if in_corner or (of_person > 2 and max(high[0] - low[0], high[1] - low[1]) <= SPECK):
        raise DecodeError(
            path,
            f"its joints lie in x {low[0]:.3g} to {high[0]:.3g} and y {low[1]:.3g} to {high[1]:.3g}, which are no pixels; "
            f"{CONVERT} --units {SHARES} (0 to 1, as OpenPose's --keypoint_scale 3) or {CENTRED} (-1 to 1, as 4)",
        )


def _check_inside(skeleton: Skeleton, joints: np.ndarray, path: str) -> None:
    """Of all joints found of a skeleton in shares, or of one that knows its frames' size."""
    x, y, score = joints.T
    height, width = (skeleton.height or 1, skeleton.width or 1) if skeleton.units == PIXELS else (1, 1)

    def outside_of(high: int, wide: int) -> float:
        # By score: detectors guess joints beyond the edge, and say so.
        return float(np.average((x < 0) | (x >= wide) | (y < 0) | (y >= high), weights=score)) if len(x) else 0.0

    outside = outside_of(height, width)
    # Only to the right: below, legs are often out of the frame, and the Kinect sees them there.
    if width < height and outside > SWAPPED_OUTSIDE and outside_of(width, height) < SWAPPED_INSIDE:
        raise DecodeError(
            path,
            f"{outside:.0%} of the joints lie outside of {width}x{height} pixels, and all inside of {height}x{width}: "
            f"img_shape is (height, width); correct it, or {CONVERT} --detector-size {height}x{width}",
        )
    if outside <= INSIDE_SHARE:
        return
    if skeleton.units == PIXELS:
        where, remedy = f"{width}x{height} pixels", "--detector-size WIDTHxHEIGHT, the size of the frames it saw"
    else:
        where, remedy = "the frame, as shares of it (0 to 1)", f"--units {PIXELS} or {CENTRED}, or give image landmarks"
    raise DecodeError(path, f"{outside:.0%} of the joints lie outside of {where}; {CONVERT} {remedy}")


def _check_shape(size: tuple[int, int], video: tuple[int, int], path: str) -> None:
    own, other = (np.log(width / height) for height, width in (size, video))
    if abs(own - other) > OTHER_SHAPE and abs(own + other) < SAME_SHAPE:
        raise DecodeError(
            path,
            f"img_shape says frames {size[1]} wide and {size[0]} high, its video is {video[1]} wide and "
            f"{video[0]} high: it is (height, width); correct it, or {CONVERT} --detector-size "
            f"{size[0]}x{size[1]} (or detect anew, if the detector saw the video turned)",
        )
