"""Pictures of a batch as the model sees it: a picture per modality, in it a row of frames per clip.

Drawn is what the model reads; only what a screen needs is undone: the normalisation of RGB and of coordinates.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from fvcore.common.config import CfgNode
from torch import Tensor

from transm3e.data import build_loader
from transm3e.data.annotations import MUSCLES
from transm3e.data.loader import ClipLoader
from transm3e.data.mixup import Mix
from transm3e.data.modalities import ModalityInput
from transm3e.data.reading import STORED, ClipReader
from transm3e.data.skeleton.streams import STREAMS, make_stream
from transm3e.data.types import Batch, mixed
from transm3e.errors import UserError
from transm3e.joints import LAYOUTS, Layout
from transm3e.modalities import MODALITIES
from transm3e.report.pictures import INK, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_FRAMES, MOST_CLIPS = 8, 64
FRAME_INCHES, TITLE_INCHES, HEAD_INCHES, KEY_INCHES, LEAST_INCHES = 1.5, 0.35, 0.9, 1.3, 6.0
CHARACTERS_PER_INCH = 15
GAP = 0.03  # between frames, in sides of a frame
SCREEN = 240  # pixels that the side of a frame with joints on it has at least
# What is magnified is magnified so far that this share of the values is not cut off; of differences most are about 0.
NOT_CUT = {"flow": 0.995, "rgb_diff": 0.97, "rgb_motion": 0.97, "motion": 0.995}
LEAST_FLOW = 1 / 127  # the smallest motion that is stored
ARROW = 0.15  # length of a long arrow of motion, in sides of a frame
# Okabe and Ito's sky blue, orange and bluish green, as RGB.
SIDES = {"left": (86, 180, 233), "right": (230, 159, 0), "middle": (0, 158, 115)}
DARK, GREY = (34, 34, 34), (190, 190, 190)
EDGE = 221  # grey around frames, which may be white
FAR = 1e6  # pixels; OpenCV counts in 32 bits


@dataclass(frozen=True)
class Screen:
    """What is drawn of one modality.

    Attributes:
        images: (B, n, S, S, 3) uint8 RGB.
        note: what is to be said of all.
        row_notes: of each clip, or ().
    """

    images: np.ndarray
    note: str
    row_notes: tuple[str, ...] = ()


def build_picture_loader(cfg: CfgNode, split: str, names: Sequence[str]) -> ClipLoader:
    """The loader of a run's first process, loading in this one, and reading all that `names` are made of at once.

    So every modality shows the same frames, crop and flip. A crop is drawn for the size of what is read first (rgb,
    flow, skeleton): a run that reads less, of files of other sizes, may crop differently.

    Args:
        names: keys of MODALITIES, at least one; they need not be the config's.

    Raises:
        UserError: an unknown modality; as transm3e.data.build_loader.
    """
    unknown = [name for name in names if name not in MODALITIES]
    if unknown or not names:
        raise UserError(f"unknown modality {unknown[0] if unknown else ''!r}; allowed: {', '.join(MODALITIES)}")
    sources = [source for source in STORED if source in {MODALITIES[name].source for name in names}]
    world = max(1, cfg.NUM_GPUS) * cfg.NUM_SHARDS
    for source in sources:  # each looks whether the files of its source are there
        loader = build_loader(_reading(cfg, source), split, world_size=world)
    reader = loader.dataset.reader
    loader.dataset.reader = ClipReader(reader.root, reader.shape, sources, reader.decoding, reader.persons)
    return loader


def one_batch(loader: ClipLoader, epoch: int = 0, step: int = 0) -> Batch:
    """A batch of an epoch.

    Raises:
        UserError: there is no such batch, or nothing of it can be read.
    """
    if epoch < 0 or not 0 <= step < len(loader):
        raise UserError(f"no step {step} of epoch {epoch}: steps are 0 to {len(loader) - 1}, epochs 0 or more")
    batch = next(loader.epoch(epoch, step), None)
    if batch is None or not len(batch):
        failed = batch.failed[0] if batch is not None else None
        why = f" ({failed.path}: {failed.reason})" if failed else ""
        raise UserError(f"no clip of step {step} can be read{why}; fix the files or look at another step")
    return batch


def draw_batch(
    batch: Batch,
    inputs: ModalityInput,
    folder: str | Path,
    *,
    split: str,
    when: str = "",
    clips: int = MOST_FRAMES,
    classes: Sequence[str] = MUSCLES,
) -> list[Path]:
    """Mix a batch, turn it into what a model reads, and draw that: one PNG per modality.

    Args:
        batch: as the loader gives it, on the CPU; it holds what `inputs` reads.
        inputs: names the modalities.
        folder: an existing one; the files in it are batch_<modality>.png.
        split: that the batch is of.
        when: epoch and step, for the title.
        clips: how many are drawn at most, the first ones, 1 to MOST_CLIPS.
        classes: what the columns of its labels are.

    Returns:
        The files.

    Raises:
        UserError: a number of clips that is not allowed, joints that would be mixed, or a picture that cannot be written.
    """
    if not 1 <= clips <= MOST_CLIPS:
        raise UserError(f"a picture cannot show {clips} clips; allowed: 1 to {MOST_CLIPS}")
    ready = mixed(batch)
    values = inputs(ready.clips)
    length = next(iter(values.values())).shape[2]
    frames = np.linspace(0, length - 1, min(length, MOST_FRAMES)).round().astype(int).tolist()
    titles = _row_titles(batch, ready.labels, "sample" if split == "train" else "view", classes)
    files = []
    for name, value in values.items():
        screen = _screen(name, value[:clips], {key: clip[:clips] for key, clip in ready.clips.items()}, inputs, frames)
        figure = _draw_rows(screen, titles, frames, length, key=name == "flow")
        head = f"{name} as the model reads it: {', '.join(filter(None, (split, when)))}"
        note = textwrap.fill(screen.note + _mix_note(batch), _characters(figure))
        figure.suptitle(f"{head}\n{note}", fontsize=10, color=INK)
        if name in STREAMS:
            _draw_sides(figure)
        files.append(Path(folder) / f"batch_{name}.png")
        save(figure, files[-1])
    return files


def flow_colours(flow: np.ndarray, full: float) -> np.ndarray:
    """Hue is direction, saturation length (all of it from `full` on): right red, down yellow-green, at rest white.

    (..., 2) float, x to the right and y down, -> (..., 3) uint8 RGB.
    """
    x, y = flow[..., 0], flow[..., 1]
    length = np.minimum(np.hypot(x, y) / full, 1)
    hsv = np.stack([np.degrees(np.arctan2(y, x)) % 360, length, np.ones_like(length)], axis=-1).astype(np.float32)
    rgb = cv2.cvtColor(hsv.reshape(-1, 1, 3), cv2.COLOR_HSV2RGB).reshape(hsv.shape)
    return (255 * rgb).round().astype(np.uint8)


def _reading(cfg: CfgNode, source: str) -> CfgNode:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATA.MODALITY, cfg.DATA_LOADER.NUM_WORKERS = source, 0
    if cfg.TASK == "distill":
        cfg.TASK = "classify"
    return cfg


def _screen(
    name: str, value: Tensor, clips: Mapping[str, Tensor], inputs: ModalityInput, frames: Sequence[int]
) -> Screen:
    """What is drawn of some frames of one modality, (B, C, T, ...), which `inputs` made of the loader's `clips`."""
    x = value[:, :, frames]
    if name in STREAMS:
        # Normalised as a whole: where the first frames lie depends on all of them.
        joints = make_stream(clips["skeleton"], "skeleton", inputs.normalize, inputs.layout)[:, :, frames]
        rgb = clips["rgb"][:, :, frames] if "rgb" in clips else None
        return _joints_screen(name, x, joints, rgb, inputs)
    return PIXEL_SCREENS[name](x, inputs)


def _rgb_screen(x: Tensor, inputs: ModalityInput) -> Screen:
    return Screen(_images(x * inputs.std + inputs.mean), "normalisation undone")


def _rgb_diff_screen(x: Tensor, inputs: ModalityInput) -> Screen:
    gain = max(1, int(1 / max(_most(x.numpy(), "rgb_diff"), 1 / 255)))
    return Screen(_images(x * gain), f"differences times {gain}")


def _rgb_motion_screen(x: Tensor, inputs: ModalityInput) -> Screen:
    x = x * inputs.std
    gain = max(1, int(0.5 / max(_most(x.abs().numpy(), "rgb_motion"), 1 / 255)))
    return Screen(_images(x * gain + 0.5), f"grey is the clip's mean; what differs from it times {gain}")


def _flow_screen(x: Tensor, inputs: ModalityInput) -> Screen:
    """(B, 2, n, S, S) -> each clip in full colours, however slow it is."""
    flow = x.permute(0, 2, 3, 4, 1).numpy()
    full = [max(_most(np.hypot(clip[..., 0], clip[..., 1]), "flow"), LEAST_FLOW) for clip in flow]
    images = np.stack([flow_colours(clip, most) for clip, most in zip(flow, full, strict=True)])
    notes = tuple(f"rim {most:.2f}" for most in full)
    return Screen(
        images, "white is at rest; the rim of the key is a share of the bound that flow is stored with", notes
    )


PIXEL_SCREENS = {
    "rgb": _rgb_screen,
    "rgb_diff": _rgb_diff_screen,
    "rgb_motion": _rgb_motion_screen,
    "flow": _flow_screen,
}


def _most(values: np.ndarray, what: str) -> float:
    return float(np.quantile(values, NOT_CUT[what]))


def _images(x: Tensor) -> np.ndarray:
    """(B, 3, n, S, S) float in [0, 1] -> (B, n, S, S, 3) uint8."""
    return x.clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 4, 1).numpy()


def _joints_screen(name: str, x: Tensor, joints: Tensor, rgb: Tensor | None, inputs: ModalityInput) -> Screen:
    """Joints, and bones or motion as lines from them; on the RGB clip, where coordinates are the frame's."""
    extent, note = 1.0, "on the rgb clip of the same draw"
    if inputs.normalize == "body":
        extent, rgb = max(1.0, float(joints[:, :2].abs().max())), None
        note = f"a frame is {2 * extent:.1f} torso lengths wide"
    elif rgb is None:
        note = "on grey, as no rgb is read"
    gain = 1
    if STREAMS[name][1]:
        gain = max(1, int(ARROW * 2 * extent / max(_most(x[:, :2].norm(dim=1).numpy(), "motion"), 1e-3)))
        note += f"; motion to the next frame of the clip times {gain}"
    images = _backdrop(x, rgb)
    places = joints.movedim(1, -1).numpy()  # (B, n, V, M, 3)
    lines = joint_lines(name, places, x.movedim(1, -1).numpy(), LAYOUTS[inputs.layout], gain)
    side = images.shape[2]
    for clip, frame in np.ndindex(images.shape[:2]):
        dots, strokes = (part[clip, frame].copy() for part in (places, lines))
        dots[..., :2], strokes[..., :4] = (
            (at / extent + 1) * side / 2 - 0.5 for at in (dots[..., :2], strokes[..., :4])
        )
        draw_joints(images[clip, frame], dots, strokes, LAYOUTS[inputs.layout].names, arrows=STREAMS[name][1])
    return Screen(images, note)


def _backdrop(joints: Tensor, rgb: Tensor | None) -> np.ndarray:
    """(B, n, S, S, 3) uint8, S at least SCREEN, to draw (B, 3, n, V, M) joints on."""
    if rgb is None:
        return np.full((len(joints), joints.shape[2], SCREEN, SCREEN, 3), GREY, np.uint8)
    times = -(-SCREEN // rgb.shape[-1])
    return rgb.permute(0, 2, 3, 4, 1).numpy().repeat(times, 2).repeat(times, 3)


def joint_lines(name: str, joints: np.ndarray, x: np.ndarray, layout: Layout, gain: int) -> np.ndarray:
    """Joints and a stream of them, (..., V, M, 3) -> (..., V, M, 5): a line from x, y to x, y per joint, and its score.

    Joints are joined to their parents. A bone starts at its parent, motion at its joint.
    """
    of_bones, of_motion = STREAMS[name]
    start, score = joints[..., :2].copy(), x[..., 2:].copy()
    if not of_motion:
        numbers, parents = (list(part) for part in zip(*layout.bones, strict=True))
        start[..., numbers, :, :] = joints[..., parents, :, :2]
        score[..., numbers, :, :] = np.minimum(score[..., numbers, :, :], joints[..., parents, :, 2:])
    end = start + gain * x[..., :2] if of_bones or of_motion else x[..., :2]
    return np.concatenate([start, end, score], axis=-1)


def draw_joints(image: np.ndarray, dots: np.ndarray, lines: np.ndarray, names: Sequence[str], arrows: bool) -> None:
    """(V, M, 3) joints and (V, M, 5) lines of a frame into it, in pixels; the first person's are the thickest."""
    lines[..., :4], dots[..., :2] = (np.clip(at, -FAR, FAR).round() for at in (lines[..., :4], dots[..., :2]))
    draw = cv2.arrowedLine if arrows else cv2.line
    for rim in (2, 0):  # all dark rims lie below all colours
        for joint, person in np.ndindex(lines.shape[:2]):
            side, width = names[joint].partition("_")[0], max(1, 3 - person)
            colour = DARK if rim else SIDES.get(side, SIDES["middle"])
            x0, y0, x1, y1 = lines[joint, person, :4].astype(int).tolist()
            if lines[joint, person, 4] > 0:
                draw(image, (x0, y0), (x1, y1), colour, width + rim, cv2.LINE_AA)
            if dots[joint, person, 2] > 0:
                at = dots[joint, person, :2].astype(int).tolist()
                cv2.circle(image, at, width + rim // 2, colour, cv2.FILLED, cv2.LINE_AA)


def _row_titles(batch: Batch, labels: Tensor, unit: str, classes: Sequence[str]) -> list[str]:
    """Path, number and muscles (or activity) of each clip, of mixed ones both paths and all shares."""
    mix = batch.mix
    floor = _rest(mix, len(classes)) + 1e-6
    partner = torch.arange(len(batch)).view(-1, batch.samples).flip(0).flatten().tolist()
    titles = []
    for i, path in enumerate(batch.paths):
        found = [
            (name.replace("_", " "), float(share))
            for name, share in zip(classes, labels[i].tolist(), strict=True)
            if share > floor
        ]
        muscles = ", ".join(name if share == 1 else f"{name} {share:.2f}" for name, share in found)
        if mix and mix.lam < 1:
            path = f"{mix.lam:.2f} x {path} + {1 - mix.lam:.2f} x {batch.paths[partner[i]]}"
        titles.append(f"{path}, {unit} {int(batch.views[i])}\n{muscles or _none_of(classes)}")
    return titles


def _none_of(classes: Sequence[str]) -> str:
    return "no muscle" if tuple(classes) == MUSCLES else "an activity that train does not show"


def _rest(mix: Mix | None, classes: int) -> float:
    """What label smoothing gives a class that neither clip has."""
    if mix is None:
        return 0.0
    return mix.label_smoothing * (1 / classes if mix.exclusive else 1 / 2)


def _mix_note(batch: Batch) -> str:
    if batch.mix is None:
        return ""
    how = "not mixed" if batch.mix.lam == 1 else "CutMix" if batch.mix.box else "mixup"
    return f"; {how}; classes that are not named have {_rest(batch.mix, batch.labels.shape[1]):g}"


def _draw_rows(screen: Screen, titles: Sequence[str], frames: Sequence[int], length: int, key: bool) -> Figure:
    """A strip per clip, the numbers of the frames below the last, and the colour wheel, if it is asked for."""
    clips, count, side = screen.images.shape[:3]
    row = FRAME_INCHES + TITLE_INCHES
    figure = new_figure(max(LEAST_INCHES, count * FRAME_INCHES), clips * row + HEAD_INCHES + KEY_INCHES * key)
    heights = [row] * clips + [KEY_INCHES] * key
    axes = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    gap = max(1, round(GAP * side))
    notes = screen.row_notes or ("",) * clips
    for place, images, title, note in zip(axes, screen.images, titles, notes, strict=False):
        place.imshow(np.hstack([np.pad(image, ((0, 0), (0, gap), (0, 0)), constant_values=EDGE) for image in images]))
        _bare(place)
        place.set_xlim(-0.5, count * (side + gap) - gap - 0.5)
        first, muscles = title.split("\n")
        lines = (f"{first}, {note}" if note else first, muscles)
        wrapped = "\n".join(textwrap.fill(line, _characters(figure), max_lines=2) for line in lines)
        place.set_title(wrapped.replace("$", r"\$"), fontsize=8, color=INK)
    last: Axes = axes[clips - 1]
    last.set_xticks([i * (side + gap) + side / 2 for i in range(count)], [str(frame + 1) for frame in frames])
    last.set_xlabel(f"frame of {length}", fontsize=8, color=INK)
    if key:
        _draw_wheel(axes[-1])
    return figure


def _draw_wheel(axes: Axes) -> None:
    y, x = np.mgrid[-1:1:201j, -1:1:201j]
    wheel = flow_colours(np.stack([x, y], axis=-1), 1.0)
    wheel[np.hypot(x, y) > 1] = 255
    axes.imshow(wheel)
    _bare(axes)
    axes.spines[:].set_visible(False)
    axes.set_ylabel("left", rotation=0, ha="right", va="center", fontsize=8, color=INK)
    axes.set_title("up", fontsize=8, color=INK)
    axes.set_xlabel("down", fontsize=8, color=INK)
    axes.text(206, 100, "right", va="center", fontsize=8, color=INK)


def _draw_sides(figure: Figure) -> None:
    from matplotlib.lines import Line2D

    words = {"left": "the person's left", "right": "the person's right", "middle": "neither"}
    handles = [
        Line2D([], [], color="#{:02x}{:02x}{:02x}".format(*SIDES[side]), linewidth=3, label=word)
        for side, word in words.items()
    ]
    handles.append(Line2D([], [], color=INK, linewidth=1, label="thin: the second person"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8)


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.tick_params(length=0, labelsize=8, colors=INK)
    axes.spines[:].set_color(f"#{EDGE:02x}{EDGE:02x}{EDGE:02x}")


def _characters(figure: Figure) -> int:
    return int(CHARACTERS_PER_INCH * figure.get_figwidth())
