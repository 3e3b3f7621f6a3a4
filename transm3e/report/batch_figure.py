"""Figures of a batch as the model reads it: one per modality, with a row of frames per clip.

transm3e.report.screens draws the modalities.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from fvcore.common.config import CfgNode
from torch import Tensor

from transm3e.data import build_loader
from transm3e.data.annotations import MUSCLES
from transm3e.data.loader import ClipLoader
from transm3e.data.mixup import Mix
from transm3e.data.modalities import ModalityInput
from transm3e.data.reading import ClipReader
from transm3e.data.types import Batch, mixed
from transm3e.errors import UserError
from transm3e.modalities import MODALITIES, check_names, function_of, sources_of
from transm3e.report.figures import INK, new_figure, save
from transm3e.report.screens import SIDES, Drawing, Screen, flow_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_FRAMES, MOST_CLIPS = 8, 64
FRAME_INCHES, TITLE_INCHES, HEAD_INCHES, KEY_INCHES, LEAST_INCHES = 1.5, 0.35, 0.9, 1.3, 6.0
CHARACTERS_PER_INCH = 15
GAP = 0.03  # between frames, in sides of a frame
EDGE = 221  # grey around frames, which may be white


def build_figure_loader(cfg: CfgNode, split: str, names: Sequence[str]) -> ClipLoader:
    """The loader of a run's first process, without workers, that reads the files of all modalities in `names` together.

    So every modality shows the same frames, crop and flip. The crop is drawn for the frame size of the first source
    (rgb, flow, skeleton): a run that reads fewer sources, with files of other sizes, may crop differently.

    Args:
        names: keys of MODALITIES, at least one; also others than the config's.

    Raises:
        UserError: an unknown modality; as transm3e.data.build_loader.
    """
    check_names(names)
    sources = sources_of(names)
    world = max(1, cfg.NUM_GPUS) * cfg.NUM_SHARDS
    for source in sources:  # each checks that the files of its source exist
        loader = build_loader(_reading(cfg, source), split, world_size=world)
    reader = loader.dataset.reader
    loader.dataset.reader = ClipReader(reader.root, reader.shape, sources, reader.decoding, reader.persons)
    return loader


def one_batch(loader: ClipLoader, epoch: int = 0, step: int = 0) -> Batch:
    """A batch of an epoch.

    Raises:
        UserError: there is no such batch, or none of its clips can be read.
    """
    if epoch < 0 or not 0 <= step < len(loader):
        raise UserError(f"no step {step} of epoch {epoch}: steps are 0 to {len(loader) - 1}, epochs 0 or more")
    batch = next(loader.epoch(epoch, step), None)
    if batch is None or not len(batch):
        failed = batch.failed[0] if batch is not None else None
        why = f" ({failed.path}: {failed.reason})" if failed else ""
        raise UserError(f"no clip of step {step} can be read{why}; fix the files or choose another step")
    return batch


def draw_batch(
    batch: Batch,
    inputs: ModalityInput,
    folder: str | Path,
    *,
    split: str,
    when: str = "",
    clips: int = 8,
    classes: Sequence[str] = MUSCLES,
) -> list[Path]:
    """Apply mixup to a batch, compute what a model reads, and draw that: one PNG per modality.

    Args:
        batch: of the loader, on the CPU, with all that `inputs` reads.
        inputs: names the modalities.
        folder: an existing one; the files are named batch_<modality>.png.
        split: of the batch.
        when: epoch and step, for the title.
        clips: the first so many are drawn, 1 to MOST_CLIPS.
        classes: names of the columns of its labels.

    Returns:
        The files.

    Raises:
        UserError: a number of clips that is not allowed, joints with mixup, or a figure that cannot be written.
    """
    if not 1 <= clips <= MOST_CLIPS:
        raise UserError(f"a figure cannot show {clips} clips; allowed: 1 to {MOST_CLIPS}")
    ready = mixed(batch)
    values = inputs(ready.clips)
    length = next(iter(values.values())).shape[2]
    frames = np.linspace(0, length - 1, min(length, MOST_FRAMES)).round().astype(int).tolist()
    titles = _row_titles(batch, ready.labels, "sample" if split == "train" else "view", classes)
    files = []
    for name, value in values.items():
        drawn = {source: clip[:clips] for source, clip in ready.clips.items()}
        screen = function_of(MODALITIES[name].draw)(Drawing(value[:clips, :, frames], drawn, frames, inputs))
        figure = _draw_rows(screen, titles, frames, length)
        head = f"{name} as the model reads it: {', '.join(filter(None, (split, when)))}"
        note = textwrap.fill(screen.note + _mix_note(batch), _characters(figure))
        figure.suptitle(f"{head}\n{note}", fontsize=10, color=INK)
        if screen.key == "sides":
            _draw_sides(figure)
        files.append(Path(folder) / f"batch_{name}.png")
        save(figure, files[-1])
    return files


def _reading(cfg: CfgNode, source: str) -> CfgNode:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATA.MODALITY, cfg.DATA_LOADER.NUM_WORKERS = source, 0
    if cfg.TASK == "distill":
        cfg.TASK = "classify"
    return cfg


def _row_titles(batch: Batch, labels: Tensor, unit: str, classes: Sequence[str]) -> list[str]:
    """Path, number and muscles (or activity) of each clip; of mixed clips both paths and all shares."""
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
    return "no muscle" if tuple(classes) == MUSCLES else "an activity that is not in train"


def _rest(mix: Mix | None, classes: int) -> float:
    """The label of a class that neither clip has, due to label smoothing."""
    if mix is None:
        return 0.0
    return mix.label_smoothing * (1 / classes if mix.exclusive else 1 / 2)


def _mix_note(batch: Batch) -> str:
    if batch.mix is None:
        return ""
    how = "not mixed" if batch.mix.lam == 1 else "CutMix" if batch.mix.box else "mixup"
    return f"; {how}; classes not named have {_rest(batch.mix, batch.labels.shape[1]):g}"


def _draw_rows(screen: Screen, titles: Sequence[str], frames: Sequence[int], length: int) -> Figure:
    """A row per clip, frame numbers below the last one, and the colour wheel if the screen needs it."""
    clips, count, side = screen.images.shape[:3]
    key = screen.key == "wheel"
    row = FRAME_INCHES + TITLE_INCHES
    figure = new_figure(max(LEAST_INCHES, count * FRAME_INCHES), clips * row + HEAD_INCHES + KEY_INCHES * key)
    heights = [row] * clips + [KEY_INCHES] * key
    axes = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    gap = max(1, round(GAP * side))
    notes = screen.row_notes or ("",) * clips
    for row_axes, images, title, note in zip(axes, screen.images, titles, notes, strict=False):
        row_axes.imshow(
            np.hstack([np.pad(image, ((0, 0), (0, gap), (0, 0)), constant_values=EDGE) for image in images])
        )
        _bare(row_axes)
        row_axes.set_xlim(-0.5, count * (side + gap) - gap - 0.5)
        first, muscles = title.split("\n")
        lines = (f"{first}, {note}" if note else first, muscles)
        wrapped = "\n".join(textwrap.fill(line, _characters(figure), max_lines=2) for line in lines)
        row_axes.set_title(wrapped.replace("$", r"\$"), fontsize=8, color=INK)
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
