"""How modalities are drawn: transm3e.modalities names one of these functions, Drawing -> Screen, for each.

They draw what the model reads; only the normalisation of RGB and of coordinates is undone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from transm3e.data.modalities import ModalityInput
from transm3e.data.skeleton.streams import normalize
from transm3e.joints import LAYOUTS, Layout

SCREEN = 240  # minimal side of a frame with joints on it, in pixels
# Values are magnified so that this share of them is not clipped; most differences are near 0.
NOT_CUT, NOT_CUT_OF_DIFFERENCES = 0.995, 0.97
LEAST_FLOW = 1 / 127  # the smallest motion that is stored
ARROW = 0.15  # length of a long arrow of motion, in sides of a frame
# Okabe and Ito's sky blue, orange and bluish green, as RGB.
SIDES = {"left": (86, 180, 233), "right": (230, 159, 0), "middle": (0, 158, 115)}
DARK, GREY = (34, 34, 34), (190, 190, 190)
FAR = 1e6  # pixels; OpenCV's coordinates have 32 bits


@dataclass(frozen=True)
class Screen:
    """What is drawn of one modality.

    Attributes:
        images: (B, n, S, S, 3) uint8 RGB.
        note: text about all clips.
        row_notes: text about each clip, or ().
        key: legend below the images: "wheel" of directions, "sides" of persons, or "".
    """

    images: np.ndarray
    note: str
    row_notes: tuple[str, ...] = ()
    key: str = ""


@dataclass(frozen=True)
class Drawing:
    """Input of the functions below.

    Attributes:
        x: (B, C, n, ...) some frames of a modality, as the model reads them.
        clips: all frames as loaded: key of transm3e.modalities.STORED -> (B, C, T, ...).
        frames: n frame numbers, from 0.
        inputs: computed x from the clips.
    """

    x: Tensor
    clips: Mapping[str, Tensor]
    frames: Sequence[int]
    inputs: ModalityInput


def images(of: Drawing) -> Screen:
    """RGB without normalisation."""
    return Screen(_images(of.x * of.inputs.std + of.inputs.mean), "normalisation undone")


def changes(of: Drawing) -> Screen:
    """Non-negative differences."""
    gain = max(1, int(1 / max(_most(of.x, NOT_CUT_OF_DIFFERENCES), 1 / 255)))
    return Screen(_images(of.x * gain), f"differences times {gain}")


def departures(of: Drawing) -> Screen:
    """Normalised pixels around 0."""
    x = of.x * of.inputs.std
    gain = max(1, int(0.5 / max(_most(x.abs(), NOT_CUT_OF_DIFFERENCES), 1 / 255)))
    return Screen(_images(x * gain + 0.5), f"grey is the clip's mean; differences from it times {gain}")


def values(of: Drawing) -> Screen:
    """Any numbers around 0, the mean of the channels where they are not three; of joints a row each, a column per person."""
    most = _most(of.x.abs(), NOT_CUT) or 1.0
    x = of.x if of.x.shape[1] == 3 else of.x.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1, -1)
    if x.shape[-1] != x.shape[-2]:
        x = functional.interpolate(x, (x.shape[2], SCREEN, SCREEN))
    return Screen(_images(x / (2 * most) + 0.5), f"grey is 0, black and white {most:.3g}")


def directions(of: Drawing) -> Screen:
    """Flow (B, 2, n, S, S) as colours, scaled to the largest motion of each clip."""
    flow = of.x.permute(0, 2, 3, 4, 1)
    full = [max(_most(clip.norm(dim=-1), NOT_CUT), LEAST_FLOW) for clip in flow]
    images = np.stack([flow_colours(clip.numpy(), most) for clip, most in zip(flow, full, strict=True)])
    notes = tuple(f"rim {most:.2f}" for most in full)
    note = "white is at rest; the rim of the key is a share of the bound that flow is stored with"
    return Screen(images, note, notes, key="wheel")


def joints(of: Drawing) -> Screen:
    """Joints, connected to their parents."""
    return _joints_screen(of, of_bones=False, of_motion=False)


def bones(of: Drawing) -> Screen:
    """Bones, as lines from their parent joints."""
    return _joints_screen(of, of_bones=True, of_motion=False)


def joint_motion(of: Drawing) -> Screen:
    """Arrows from the joints."""
    return _joints_screen(of, of_bones=False, of_motion=True)


def bone_motion(of: Drawing) -> Screen:
    """Arrows from the joints."""
    return _joints_screen(of, of_bones=True, of_motion=True)


def _most(values: Tensor, share: float) -> float:
    return float(np.quantile(values.numpy(), share))


def _images(x: Tensor) -> np.ndarray:
    """(B, 3, n, S, S) float in [0, 1] -> (B, n, S, S, 3) uint8."""
    return x.clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 4, 1).numpy()


def _joints_screen(of: Drawing, of_bones: bool, of_motion: bool) -> Screen:
    """Joints, and bones or motion as lines from them; on the RGB clip, where coordinates are the frame's."""
    inputs, x = of.inputs, of.x
    # Normalised with all frames, as positions depend on all of them.
    joints = normalize(of.clips["skeleton"], inputs.normalize, inputs.layout)[:, :, of.frames]
    rgb = of.clips["rgb"][:, :, of.frames] if "rgb" in of.clips else None
    extent, note = 1.0, "on the rgb clip with the same augmentation"
    if inputs.normalize == "body":
        extent, rgb = max(1.0, float(joints[:, :2].abs().max())), None
        note = f"a frame is {2 * extent:.1f} torso lengths wide"
    elif rgb is None:
        note = "on grey, as no rgb is read"
    gain = 1
    if of_motion:
        gain = max(1, int(ARROW * 2 * extent / max(_most(x[:, :2].norm(dim=1), NOT_CUT), 1e-3)))
        note += f"; motion to the next frame of the clip times {gain}"
    images = _backdrop(x, rgb)
    positions = joints.movedim(1, -1).numpy()  # (B, n, V, M, 3)
    lines = joint_lines(positions, x.movedim(1, -1).numpy(), LAYOUTS[inputs.layout], of_bones, of_motion, gain)
    side = images.shape[2]
    for clip, frame in np.ndindex(images.shape[:2]):
        dots, strokes = (part[clip, frame].copy() for part in (positions, lines))
        dots[..., :2], strokes[..., :4] = (
            (at / extent + 1) * side / 2 - 0.5 for at in (dots[..., :2], strokes[..., :4])
        )
        draw_joints(images[clip, frame], dots, strokes, LAYOUTS[inputs.layout].names, arrows=of_motion)
    return Screen(images, note, key="sides")


def _backdrop(joints: Tensor, rgb: Tensor | None) -> np.ndarray:
    """(B, n, S, S, 3) uint8, S at least SCREEN, to draw (B, 3, n, V, M) joints on."""
    if rgb is None:
        return np.full((len(joints), joints.shape[2], SCREEN, SCREEN, 3), GREY, np.uint8)
    times = -(-SCREEN // rgb.shape[-1])
    return rgb.permute(0, 2, 3, 4, 1).numpy().repeat(times, 2).repeat(times, 3)


def joint_lines(
    joints: np.ndarray, x: np.ndarray, layout: Layout, of_bones: bool = False, of_motion: bool = False, gain: int = 1
) -> np.ndarray:
    """Joints and a stream of them, (..., V, M, 3) -> (..., V, M, 5): a line from x, y to x, y per joint, and its score.

    Joints are connected to their parents. A bone starts at its parent, motion at its joint.
    """
    start, score = joints[..., :2].copy(), x[..., 2:].copy()
    if not of_motion:
        numbers, parents = (list(part) for part in zip(*layout.bones, strict=True))
        start[..., numbers, :, :] = joints[..., parents, :, :2]
        score[..., numbers, :, :] = np.minimum(score[..., numbers, :, :], joints[..., parents, :, 2:])
    end = start + gain * x[..., :2] if of_bones or of_motion else x[..., :2]
    return np.concatenate([start, end, score], axis=-1)


def draw_joints(image: np.ndarray, dots: np.ndarray, lines: np.ndarray, names: Sequence[str], arrows: bool) -> None:
    """Draw (V, M, 3) joints and (V, M, 5) lines, in pixels, into a frame; the first person's lines are thickest."""
    lines[..., :4], dots[..., :2] = (np.clip(at, -FAR, FAR).round() for at in (lines[..., :4], dots[..., :2]))
    draw = cv2.arrowedLine if arrows else cv2.line
    for rim in (2, 0):  # all dark rims are below all colours
        for joint, person in np.ndindex(lines.shape[:2]):
            side, width = names[joint].partition("_")[0], max(1, 3 - person)
            colour = DARK if rim else SIDES.get(side, SIDES["middle"])
            x0, y0, x1, y1 = lines[joint, person, :4].astype(int).tolist()
            if lines[joint, person, 4] > 0:
                draw(image, (x0, y0), (x1, y1), colour, width + rim, cv2.LINE_AA)
            if dots[joint, person, 2] > 0:
                at = dots[joint, person, :2].astype(int).tolist()
                cv2.circle(image, at, width + rim // 2, colour, cv2.FILLED, cv2.LINE_AA)


def flow_colours(flow: np.ndarray, full: float) -> np.ndarray:
    """Hue is direction, saturation length (all of it from `full` on): right red, down yellow-green, at rest white.

    (..., 2) float, x to the right and y down, -> (..., 3) uint8 RGB.
    """
    x, y = flow[..., 0], flow[..., 1]
    length = np.minimum(np.hypot(x, y) / full, 1)
    hsv = np.stack([np.degrees(np.arctan2(y, x)) % 360, length, np.ones_like(length)], axis=-1).astype(np.float32)
    rgb = cv2.cvtColor(hsv.reshape(-1, 1, 3), cv2.COLOR_HSV2RGB).reshape(hsv.shape)
    return (255 * rgb).round().astype(np.uint8)
