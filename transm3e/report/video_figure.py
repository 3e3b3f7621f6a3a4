"""Figure of a scored video: frames with the detected joints, its scores as a body map, and the highest ones as bars."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from transm3e.data.annotations import MUSCLES
from transm3e.data.backends import open_source
from transm3e.data.skeleton import Skeleton, fit_video, read_skeleton
from transm3e.data.skeleton.bodies import Body
from transm3e.joints import LAYOUTS
from transm3e.report.body import draw_body, score_scale
from transm3e.report.figures import INK, KNOWN, PALE, dress, new_figure, save
from transm3e.report.screens import draw_joints, joint_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Number of bars, and of frames in a strip: more if they are narrow.
MOST_BARS, USUAL_FRAMES, LEAST_FRAMES, MOST_FRAMES = 8, 5, 3, 8
WIDTH_INCHES, BAR_INCHES, MAP_INCHES = 12.0, 0.27, 3.2
NOTE_WIDTH = 40  # characters
LITTLE = 0.5  # share of frames with a person
SIDE = 360  # pixels of a frame's longer side
# Joints with lower scores are guesses at what is not visible.
LEAST_SCORE = 0.3
WHAT = (
    "what such a movement usually trains, not measured activation; joints: blue is the person's left, orange the right"
)


def draw_video(video: Path, body: Body, scores: Mapping[str, float], unknown: Sequence[str], file: Path) -> None:
    """Draw a strip of frames, evenly spaced, and below it a body map, where scores are of muscles, and the highest scores.

    Args:
        video: the file.
        body: the person in it; its `reason` is written instead of bars if there are no scores.
        scores: name -> score in [0, 1] of what the model knows; {} if there are no scores.
        unknown: names that are listed as not known.
        file: to write; .png, .pdf or .svg decides the format.

    Raises:
        DecodeError: a frame cannot be read.
        UserError: the file cannot be written.
    """
    frames, seconds = _strip(video, body.skeleton)
    height, width = frames[0].shape[:2]
    strip = WIDTH_INCHES / len(frames) * height / width
    has_body = bool(scores) and set(scores) <= set(MUSCLES)
    bars = MAP_INCHES if has_body else max(3, min(MOST_BARS, len(scores))) * BAR_INCHES + 0.8
    figure = new_figure(WIDTH_INCHES, strip + bars + 1.0)
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=[strip + 0.35, bars])[:, 0]
    for axes, image, second in zip(upper.subplots(1, len(frames), squeeze=False)[0], frames, seconds, strict=True):
        axes.imshow(image)
        axes.set_axis_off()
        axes.set_title("" if second is None else f"{second:.1f} s", fontsize=8, color=INK)
    if has_body:
        left, middle, right = lower.subplots(1, 3, width_ratios=[1.2, 1.9, 1])
        draw_body(left, scores, score_scale(list(scores.values())))
    else:
        middle, right = lower.subplots(1, 2, width_ratios=[3, 1])
    _draw_bars(middle, scores, body.reason)
    _write_notes(right, body, unknown)
    figure.suptitle(f"{body.path}".replace("$", r"\$"), fontsize=13, fontweight="bold", color=INK)
    figure.supxlabel(WHAT, fontsize=8, color=PALE)
    save(figure, file)


def _strip(video: Path, file: str) -> tuple[list[np.ndarray], list[float | None]]:
    """Frames (H, W, 3) uint8 RGB with joints drawn, and their times in seconds, None without timestamps."""
    with closing(open_source(video)) as source:
        first = source.frames([0])[0]
        count = USUAL_FRAMES * (first.shape[1] / first.shape[0] / (16 / 9)) ** -0.5
        count = min(source.num_frames, int(np.clip(round(count), LEAST_FRAMES, MOST_FRAMES)))
        numbers = ((np.arange(count) + 0.5) / count * source.num_frames).astype(int)
        images = [_scaled(frame) for frame in source.frames(numbers.tolist())]
        clock = source.seconds
    if file:
        skeleton = fit_video(read_skeleton(file), (first.shape[0], first.shape[1]), file)
        for image, number in zip(images, numbers, strict=True):
            draw_skeleton(image, skeleton, number)
    return images, [None if clock is None else float(clock[n] - clock[0]) for n in numbers]


def _scaled(frame: np.ndarray) -> np.ndarray:
    scale = SIDE / max(frame.shape[:2])
    size = [max(1, round(side * scale)) for side in frame.shape[1::-1]]
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def draw_skeleton(image: np.ndarray, skeleton: Skeleton, number: int) -> None:
    """Draw the joints of a frame, by its number, into an image of it of any size."""
    joints = skeleton.joints([number])[0].swapaxes(0, 1).copy()  # (V, P, 3)
    scale = [image.shape[1] / (skeleton.width or 1), image.shape[0] / (skeleton.height or 1)]
    joints[..., :2] = (joints[..., :2] + 0.5) * scale - 0.5
    joints[joints[..., 2] < LEAST_SCORE] = 0
    layout = LAYOUTS[skeleton.layout]
    draw_joints(image, joints, joint_lines(joints, joints, layout), layout.names, arrows=False)


def _draw_bars(axes: Axes, scores: Mapping[str, float], reason: str) -> None:
    """Bars of the highest scores, highest first."""
    best = sorted(scores.items(), key=lambda each: (-each[1], each[0]))[:MOST_BARS]
    if not best:
        axes.set_axis_off()
        text = "\n".join(textwrap.wrap(f"no scores: {reason}", 2 * NOTE_WIDTH))
        axes.text(0.02, 1, text.replace("$", r"\$"), va="top", fontsize=12, color=INK).set_in_layout(False)
        return
    bars = axes.barh(range(len(best)), [score for _, score in best], 0.7, color=KNOWN)
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=9, color=INK)
    axes.set_yticks(range(len(best)), [name.replace("_", " ") for name, _ in best])
    axes.set_ylim(len(best) - 0.4, -0.6)
    scale = score_scale(list(scores.values()))
    axes.set_xlim(0, 1.08 if scale.high == 1 else 1.15 * scale.high)
    axes.set_xlabel(scale.label, fontsize=9, color=INK)
    dress(axes, "x")


def _write_notes(axes: Axes, body: Body, unknown: Sequence[str]) -> None:
    axes.set_axis_off()
    lines = []
    if body.frames is not None:
        coverage = body.coverage or 0.0
        lines += [f"{body.frames} frames, {100 * coverage:.0f}% of them show a body"]
        if coverage < LITTLE and not body.reason:
            lines += ["too few for reliable scores"]
    if unknown and not body.reason:
        names = ", ".join(name.replace("_", " ") for name in unknown)
        lines += ["", *textwrap.wrap(f"not known, as hardly any training clip shows them: {names}", NOTE_WIDTH)]
    # The text may be higher than the bars, which must not shrink for it.
    axes.text(0, 1, "\n".join(lines), va="top", fontsize=9, color=INK).set_in_layout(False)
