"""Where a model looks, on the clips: rows of frames with heat or joints, maps of tokens, deletion curves, overlay videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from transm3e.data.annotations import MUSCLES
from transm3e.data.types import Batch
from transm3e.errors import UserError
from transm3e.explain import attention, cam
from transm3e.explain.deletion import SHARES, deletion_curve, moved_heat, random_heat
from transm3e.joints import LAYOUTS
from transm3e.modalities import JOINTS, MODALITIES
from transm3e.models.mvit import MViTBackbone
from transm3e.report.figures import INK, KNOWN, MEAN, NEW, dress, new_figure, save
from transm3e.tasks import Classify

JOINT_METHOD = "joints"
METHODS = (*cam.METHODS, *attention.METHODS, JOINT_METHOD)
FRAMES, SIDE = 6, 240  # frames of a row, and their least side in pixels
NAMED = 4  # muscles or joints in a list
LEAST_HEAT = 0.15  # below it the frame is left as it is
PATCH_SHARE = 14  # patches of the deletion test along a side
DRAWS = 5


@dataclass(frozen=True)
class Explained:
    """A batch of views and what their scores rest on.

    Attributes:
        heat: (B, T, H, W), or of joints (B, T, V, M), float32 in [0, 1].
        scores: (B, C) of all muscles (or activities) `names`.
        classes: (B,) int64, the one that is explained.
        method: of METHODS.
    """

    heat: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    names: tuple[str, ...]
    method: str


def check_method(model: Any, method: str) -> str:
    """The method, or where it is "" the usual one for the model.

    Raises:
        UserError: the model does not allow it.
    """
    of_joints = MODALITIES[getattr(model, "modality", "rgb")].kind == JOINTS
    method = method or (JOINT_METHOD if of_joints else cam.METHODS[0])
    name = type(model).__name__
    if (method == JOINT_METHOD) != of_joints:
        allowed = JOINT_METHOD if of_joints else ", ".join(m for m in METHODS if m != JOINT_METHOD)
        raise UserError(f"--method {method} does not go with {name}, a model of {model.modality}; allowed: {allowed}")
    if method in attention.METHODS and not isinstance(getattr(model, "backbone", None), MViTBackbone):
        raise UserError(
            f"--method {method} needs class tokens, which {name} has not; allowed: {', '.join(cam.METHODS)}"
        )
    return method


def class_of(names: Sequence[str], muscle: str) -> int | None:
    """The number of a muscle (or activity); None for "".

    Raises:
        UserError: there is none of this name.
    """
    if muscle and muscle not in names:
        raise UserError(f"--muscle {muscle} is unknown; allowed: {', '.join(names)}")
    return names.index(muscle) if muscle else None


def explain(task: Classify, clips: dict[str, Tensor], method: str, muscle: int | None) -> Explained:
    """Explain the score of a muscle, or where it is None each view's highest one.

    Args:
        clips: a batch's, on the model's device.
    """
    model, inputs = task.model.eval(), task.inputs(clips)
    with torch.no_grad():
        scores = task.loss.scores(model(inputs).logits)
    classes = scores.argmax(1) if muscle is None else torch.full((len(scores),), muscle, device=scores.device)
    if method == JOINT_METHOD:
        heat = cam.joint_importance(model, inputs, classes)
    elif method in cam.METHODS:
        heat = cam.grad_cam(model, inputs, classes, method)
    else:
        heat = _of_tokens(model, inputs, classes, method)
    names = task.activities.names if task.activities else MUSCLES
    return Explained(heat.cpu().numpy(), scores.cpu().numpy(), classes.cpu().numpy(), names, method)


def _of_tokens(model: Any, inputs: dict[str, Tensor], classes: Tensor, method: str) -> Tensor:
    maps = attention.rollout(model, inputs) if method == "rollout" else attention.token_attention(model, inputs)
    if getattr(model, "head", None) is None and model.has_mcts:  # a token for each class, after any receivers
        own = maps.shape[1] - model.num_mcts + classes
        return maps[torch.arange(len(maps), device=maps.device), own]
    return cam.scaled(maps.mean(1))


def rows_figure(batch: Batch, found: Explained, layout: str, threshold: float, path: Path, title: str) -> None:
    """Two rows per clip: frames, and what the explained muscle rests on; beside them what is true, missed and false."""
    count = len(found.heat)
    frames = np.linspace(0, found.heat.shape[1] - 1, min(FRAMES, found.heat.shape[1])).round().astype(int)
    figure = new_figure(1.6 * len(frames) + 2.4, 3.3 * count + 0.6)
    every = figure.subplots(2 * count, len(frames) + 1, squeeze=False, width_ratios=[1.45] + [1] * len(frames))
    for axes in every.ravel():
        axes.set_axis_off()
    for clip in range(count):
        plain, upper, lower = backdrop(batch, clip), every[2 * clip], every[2 * clip + 1]
        upper[0].text(0, 1, _about(batch, found, clip, threshold), va="top", fontsize=8.5, color=INK).set_in_layout(
            False
        )
        lower[0].text(0, 1, _most(found, clip, layout), va="top", fontsize=8.5, color=INK).set_in_layout(False)
        for column, frame in enumerate(frames, start=1):
            upper[column].imshow(plain[frame])
            lower[column].imshow(_painted(plain[frame], batch, found, clip, frame, layout))
    figure.suptitle(title.replace("$", r"\$"), fontsize=13, fontweight="bold", color=INK)
    save(figure, path)


def backdrop(batch: Batch, clip: int) -> np.ndarray:
    """(T, S, S, 3) uint8: the clip's frames, at least SIDE wide; grey where there are no images."""
    if "rgb" in batch.clips:
        images = batch.clips["rgb"][clip].permute(1, 2, 3, 0).cpu().numpy()
        side = max(SIDE, images.shape[1])
        return np.stack([cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC) for image in images])
    frames = next(iter(batch.clips.values())).shape[2]
    return np.full((frames, SIDE, SIDE, 3), 235, np.uint8)


def _painted(image: np.ndarray, batch: Batch, found: Explained, clip: int, frame: int, layout: str) -> np.ndarray:
    if found.method != JOINT_METHOD:
        return blend(image, found.heat[clip, frame])
    joints = batch.clips["skeleton"][clip, :, frame].cpu().numpy()
    shares, image = joints[:2], image.copy()
    if len(joints) > 3:  # metres around the hips; two of them are shown, on grey
        shares, image[:] = 0.5 + joints[:2] / 2, 235
    return paint_joints(image, shares * image.shape[1] - 0.5, joints[-1], found.heat[clip, frame], layout)


def blend(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 with (h, w) heat in [0, 1] over it, the stronger the less transparent."""
    from matplotlib import colormaps

    heat = np.clip(cv2.resize(heat.astype(np.float32), image.shape[1::-1], interpolation=cv2.INTER_LINEAR), 0, 1)
    colour = 255 * colormaps["inferno"](0.25 + 0.75 * heat)[..., :3]
    share = 0.75 * np.clip((heat - LEAST_HEAT) / (1 - LEAST_HEAT), 0, 1)[..., None] ** 0.7
    # Greyish below the heat, so that its colours are not mistaken for the video's.
    dull = 0.5 * image + 0.5 * image.mean(2, keepdims=True)
    mixed: np.ndarray = ((1 - share) * dull + share * colour).round().astype(np.uint8)
    return mixed


def paint_joints(
    image: np.ndarray, places: np.ndarray, present: np.ndarray, heat: np.ndarray, layout: str
) -> np.ndarray:
    """Draw joints into an image, dots larger and brighter the more they matter.

    Args:
        image: (H, W, 3) uint8, changed.
        places: (2, V, M) pixels.
        present: (V, M), above 0 where there is a joint.
        heat: (V, M) in [0, 1].
        layout: key of LAYOUTS.
    """
    from matplotlib import colormaps

    unit = max(image.shape[:2]) / SIDE
    for person in range(places.shape[2]):
        there = present[:, person] > 0
        points = np.clip(np.nan_to_num(places[:, :, person]).T, -1e5, 1e5).round().astype(int).tolist()
        for a, b in LAYOUTS[layout].bones:
            if there[a] and there[b]:
                cv2.line(image, points[a], points[b], (150, 150, 150), max(1, round(1.5 * unit)), cv2.LINE_AA)
        for joint in np.argsort(heat[:, person]):
            if there[joint]:
                value = float(heat[joint, person])
                colour = [int(255 * c) for c in colormaps["inferno"](0.15 + 0.8 * value)[:3]]
                cv2.circle(image, points[joint], max(2, round((2 + 7 * value) * unit)), colour, -1, cv2.LINE_AA)
                cv2.circle(image, points[joint], max(2, round((2 + 7 * value) * unit)), (255, 255, 255), 1, cv2.LINE_AA)
    return image


def _about(batch: Batch, found: Explained, clip: int, threshold: float) -> str:
    name, scores = batch.paths[clip], found.scores[clip]
    lines = [name if len(name) <= 30 else f"...{name[-27:]}"]
    if batch.labels.shape[1] == len(found.names):
        truth, chosen = batch.labels[clip].cpu().numpy() > 0, scores >= threshold
        for what, which in (("true", truth & chosen), ("missed", truth & ~chosen), ("false", ~truth & chosen)):
            names = [found.names[c] for c in np.argsort(-scores) if which[c]]
            lines += [f"{what}: {', '.join(names[:2]) or 'none'}{',' if len(names) > 2 else ''}"]
            lines += [f"  {', '.join(names[2:NAMED])}{f' +{len(names) - NAMED}' if len(names) > NAMED else ''}"] * (
                len(names) > 2
            )
    return "\n".join(lines).replace("_", " ").replace("$", r"\$")


def _most(found: Explained, clip: int, layout: str) -> str:
    muscle = found.names[found.classes[clip]]
    lines = [f"{found.method}: {muscle}", f"score {found.scores[clip, found.classes[clip]]:.2f}"]
    if found.method == JOINT_METHOD:
        mean = found.heat[clip].mean((0, 2))
        lines += ["", *(LAYOUTS[layout].names[joint] for joint in np.argsort(-mean)[:NAMED])]
    return "\n".join(lines).replace("_", " ").replace("$", r"\$")


def tokens_figure(task: Classify, batch: Batch, path: Path, title: str) -> None:
    """Of the first clip, what each token of the last block reads in the middle frame, and how alike the tokens are."""
    model: Any = task.model
    clips = {name: clip[:1] for name, clip in batch.clips.items()}
    inputs = task.inputs(clips)
    maps = attention.token_attention(model, inputs)[0].cpu().numpy()
    alike = attention.token_similarity(model, inputs)[0].cpu().numpy()
    named = [f"MCT {MUSCLES[i] if model.head is None else i}" for i in range(model.num_mcts)]
    names = [f"receiver {i}" for i in range(len(maps) - model.num_mcts)] + named
    columns = min(len(maps), 5 if len(maps) <= 20 else 8)
    rows, middle = -(-len(maps) // columns), maps.shape[1] // 2
    figure = new_figure(1.3 * columns + 7, max(5.0, 1.5 * rows + 0.6))
    halves: Any = figure.subfigures(1, 2, width_ratios=[1.3 * columns, 6.6])
    left, right = halves
    image, every = backdrop(batch, 0)[middle], left.subplots(rows, columns, squeeze=False).ravel()
    for axes in every:
        axes.set_axis_off()
    for axes, heat, name in zip(every, maps[:, middle], names, strict=False):
        axes.imshow(blend(image, heat))
        axes.set_title(name.replace("_", " "), fontsize=7, color=INK, pad=2)
    square: Any = right.subplots()
    lowest = float(alike.min())  # tokens are often nearly the same, which a scale from -1 to 1 would hide
    shown = square.imshow(alike, cmap="viridis", vmin=min(lowest, 0.999), vmax=1)
    square.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
    square.set_yticks(range(len(names)), names, fontsize=6)
    square.tick_params(length=0)
    square.set_title(
        f"cosine similarity of the tokens after the last block, lowest {lowest:.3f}", fontsize=9, color=INK
    )
    right.colorbar(shown, ax=square, shrink=0.7, pad=0.02).outline.set_visible(False)
    figure.suptitle(f"{title}: {batch.paths[0]}".replace("$", r"\$"), fontsize=12, fontweight="bold", color=INK)
    save(figure, path)


def deletion_figure(task: Classify, clips: dict[str, Tensor], found: Explained, path: Path, title: str) -> None:
    """Mean score of the explained muscles while the patches with the most heat are erased, beside random patches, and
    the same shapes at random places: scattered patches flicker, which a model of motion sees."""
    model: Any = task.model
    source = MODALITIES[model.modality].source
    classes, heat = torch.from_numpy(found.classes), torch.from_numpy(found.heat).to(clips[source].device)

    def score(erased: Tensor) -> Tensor:
        scores = task.loss.scores(task.model(task.inputs({**clips, source: erased})).logits)
        return scores.gather(1, classes[:, None].to(scores.device))[:, 0]

    patch = max(1, round(heat.shape[-1] / PATCH_SHARE))
    hot = deletion_curve(score, clips[source], heat, patch).mean(1).cpu()
    percent = [100 * share for share in SHARES]
    figure = new_figure(6.4, 4.2)
    axes = figure.subplots()
    axes.plot(percent, hot, "o-", color=NEW, linewidth=2, label=f"patches with the most heat ({found.method})")
    for make, colour, label in (
        (moved_heat, KNOWN, "the same shapes elsewhere"),
        (random_heat, MEAN, "random patches"),
    ):
        other = [deletion_curve(score, clips[source], make(heat, patch, i), patch).mean(1).cpu() for i in range(DRAWS)]
        curves = torch.stack(other)
        axes.plot(percent, curves.mean(0), "D-", color=colour, linewidth=2, label=f"{label}, {DRAWS} draws")
        axes.fill_between(percent, curves.amin(0), curves.amax(0), color=colour, alpha=0.15, linewidth=0)
    axes.set_xlabel("patches erased (%)")
    axes.set_ylabel(f"mean score of the explained muscle, {len(found.heat)} clips")
    axes.set_ylim(0, None)
    axes.legend(frameon=False, fontsize=9)
    dress(axes, "y")
    axes.set_title(title.replace("$", r"\$"), fontsize=12, fontweight="bold", color=INK)
    save(figure, path)
