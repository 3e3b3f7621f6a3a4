"""A trained model as a Python object: video files or arrays in, scores out, by the path that run_net.py takes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from fvcore.common.config import CfgNode
from torch import Tensor

from transm3e.cli import CONFIG_SUFFIXES
from transm3e.config.load import cfg_from_text, load_cfg
from transm3e.config.node import merge, opt_settings
from transm3e.data import build_videos
from transm3e.data.images import ArrayFrames
from transm3e.engine.evaluate import predict
from transm3e.engine.precision import Precision
from transm3e.errors import UserError
from transm3e.files import local_path, read_text, split_member
from transm3e.inference.scores import Scores
from transm3e.modalities import STORED, stored_modalities
from transm3e.models.output import ModelOutput
from transm3e.models.weights import read_checkpoint
from transm3e.registry import import_files
from transm3e.report.videos import untrained_muscles
from transm3e.runs.data_identity import Data
from transm3e.runs.folder import evaluation_checkpoint
from transm3e.runs.plan import Run, plan
from transm3e.runs.record import CONFIG
from transm3e.tasks import Classify, build_trained_task

Clip: TypeAlias = str | Path | np.ndarray
CHECKPOINT_SUFFIXES = (".pyth", ".pth", ".pt", ".safetensors")


class Predictor:
    """A model that scores clips; made by `load`.

    >>> import transm3e
    >>> model = transm3e.load("configs/MuscleSynth/all_ones.yaml")
    >>> len(model.columns)
    20

    Attributes:
        cfg: its config.
        task: what run_net.py evaluates.
        columns: names of what it scores.
        unknown: columns whose scores mean nothing, as hardly any training clip has them.
    """

    def __init__(self, cfg: CfgNode, task: Classify, device: torch.device, unknown: Sequence[str]) -> None:
        self.cfg, self.columns, self.unknown = cfg, task.columns, tuple(unknown)
        self.task, self._device = task, device
        self._precision = Precision.from_cfg(cfg, device, testing=True)

    @torch.inference_mode()
    def __call__(self, clips: Mapping[str, Tensor]) -> ModelOutput:
        """The model's output for Batch.clips, which are moved to its device and normalised."""
        self.task.model.eval()
        with self._precision.autocast():
            output: ModelOutput = self.task.model(self.task.inputs({k: v.to(self._device) for k, v in clips.items()}))
        return output

    def predict(self, clips: Clip | Sequence[Clip], fps: float = 0.0) -> Scores:
        """Scores of videos, views averaged as in TEST.*; files are read in batches, so there may be any number.

        >>> import transm3e
        >>> model = transm3e.load("configs/MuscleSynth/all_ones.yaml")
        >>> model.predict([np.zeros((8, 64, 64, 3), np.uint8)] * 3).values.shape
        (3, 20)

        Args:
            clips: a video file, a folder of videos, an array of frames (T, H, W, 3) uint8 RGB, or a list of files and
                arrays; for a model of joints files only, in which persons are detected (DEMO.DETECTOR).
            fps: frames per second of the arrays; needed where DATA.TARGET_FPS is set.

        Raises:
            UserError: no such file, an array of another shape or type, a single clip that cannot be read (among several
                it is listed in Scores.failed), or the model reads what such clips do not have.
        """
        is_folder = isinstance(clips, str | Path) and Path(clips).is_dir()
        given = [clips] if isinstance(clips, str | Path | np.ndarray) else list(clips)
        if not given:
            raise UserError("no clips to score; name a video file or pass an array (T, H, W, 3)")
        stored = stored_modalities(self.cfg, training=False)
        if other := [name for name in stored if not STORED[name].of_any_video]:
            raise UserError(
                f"the model reads {other[0]}, which a video alone does not have; score a clip table instead"
            )
        frames = {
            f"array {number}": self._frames(f"array {number}", clip, fps, stored)
            for number, clip in enumerate(given)
            if not isinstance(clip, str | Path)
        }
        names = [str(c) if isinstance(c, str | Path) else f"array {number}" for number, c in enumerate(given)]
        for name in names:
            if name not in frames and not is_folder and not os.path.isfile(name):
                raise UserError(f"{name}: no such file; name a video file, or one folder of videos alone")
        source = names[0] if is_folder else list(dict.fromkeys(names))
        cfg = self.cfg
        if isinstance(source, list) and len(source) == 1:  # starting workers takes longer than one video
            cfg = _changed(cfg, {"DATA_LOADER.NUM_WORKERS": 0})
        # TEST.BATCH_SIZE is that of all GPUs.
        videos = build_videos(cfg, source, local_size=max(1, cfg.NUM_GPUS))
        loader = videos.loader
        loader.dataset.reader.in_memory = {os.path.abspath(name): source for name, source in frames.items()}
        found = predict(
            self.task, loader.epoch(0), self._device, "videos", len(loader), cfg.DATA.ENSEMBLE_METHOD, self._precision
        )
        reasons = {c.row: c.reason for c in found.failed} | {b.row: b.reason for b in videos.bodies if b.reason}
        order = [body.path for body in videos.bodies] if is_folder else list(dict.fromkeys(names))
        failed = {order[row]: reason for row, reason in reasons.items()}
        if failed and len(order) == 1:
            raise UserError(f"{order[0]}: {failed[order[0]]}")
        values = np.full((len(order), len(self.columns)), np.nan, np.float32)
        if len(found.rows):
            values[found.rows] = found.scores
        shown = order if is_folder else names
        place = {name: number for number, name in enumerate(order)}
        picked = values[[place[name] for name in shown]]
        return Scores(tuple(shown), self.columns, picked, self.task.target, self.unknown, failed)

    def _frames(self, name: str, clip: Any, fps: float, stored: Sequence[str]) -> ArrayFrames:
        """An array that is checked."""
        if not isinstance(clip, np.ndarray):
            raise UserError(f"{name} is a {type(clip).__name__}; allowed: a path, or a numpy array (T, H, W, 3) uint8")
        if stored != ["rgb"]:
            raise UserError(f"the model reads {', '.join(stored)}, which {name} does not have; pass the video file")
        if clip.dtype != np.uint8:
            raise UserError(f"{name} holds {clip.dtype}; allowed: uint8, RGB from 0 to 255")
        if clip.ndim != 4 or clip.shape[3] != 3 or 0 in clip.shape:
            raise UserError(f"{name} has shape {clip.shape}; allowed: (T, H, W, 3), frames of RGB, at least one")
        if self.cfg.DATA.TARGET_FPS and not fps > 0:
            raise UserError(
                f"the model reads {self.cfg.DATA.TARGET_FPS:g} frames per second (DATA.TARGET_FPS), and {name} has no time "
                "stamps; pass fps=, its frames per second"
            )
        return ArrayFrames(name, clip, fps)


def load(source: str | Path, opts: Sequence[Any] = (), device: str | torch.device = "") -> Predictor:
    """A trained model.

    >>> import transm3e
    >>> transm3e.load("configs/MuscleSynth/all_ones.yaml").columns[:2]
    ('neck_and_head', 'chest')

    Args:
        source: the folder of a run; a checkpoint of this project with its config inside; or a config, whose run or
            TEST.CHECKPOINT_FILE_PATH has weights.
        opts: KEY VALUE ..., as on the command line.
        device: "cpu", "cuda" or "cuda:1"; "" = a GPU if there is one.

    Raises:
        UserError: there is no such file, no weights, or no such device.
    """
    where = _device(device)
    changes = dict(zip(opts[::2], opts[1::2], strict=True))
    path = Path(local_path(split_member(source)[0]))
    run, checkpoint = _find(source, path, changes)
    run = replace(run, cfg=_on(run.cfg, where))
    task = build_trained_task(run.cfg, checkpoint, where)
    return Predictor(run.cfg, task, where, untrained_muscles(run, task.columns))


def _find(source: str | Path, path: Path, changes: Mapping[str, Any]) -> tuple[Run, Path | None]:
    if path.is_dir():
        cfg = _changed(cfg_from_text(_text(path / CONFIG), str(path / CONFIG)), {"OUTPUT_DIR": str(path), **changes})
        import_files(cfg.IMPORTS)
        run = _run(path.name, cfg)
        return run, evaluation_checkpoint(run)
    if path.suffix in CONFIG_SUFFIXES:
        if not path.is_file():
            raise UserError(f"no config at {path.absolute()}; check the path")
        words = [word for pair in changes.items() for word in pair]
        cfg = load_cfg(source, words)
        # A checkpoint that is named needs no data; a run is found by what it was trained on.
        run = _run(path.stem, cfg) if cfg.TEST.CHECKPOINT_FILE_PATH else plan([str(source)], words)[-1]
        return run, evaluation_checkpoint(run)
    if path.suffix not in CHECKPOINT_SUFFIXES:
        raise UserError(f"{source}: not a run folder, a config (.yaml), or a model ({', '.join(CHECKPOINT_SUFFIXES)})")
    text = read_checkpoint(source).get("cfg")
    if not text:
        raise UserError(f"{source} has no config inside; load its config with TEST.CHECKPOINT_FILE_PATH {source}")
    cfg = cfg_from_text(text, f"the config inside {source}")
    import_files(cfg.IMPORTS)
    # Its muscles that are known are in the report beside it, or in the table that it was trained on.
    reported = {"TEST.CHECKPOINT_FILE_PATH": str(source) if path.with_suffix(".json").is_file() else ""}
    return _run(path.stem, _changed(cfg, {**reported, "TEST.CHECKPOINT_SOURCE": "transm3e", **changes})), path


def _text(file: Path) -> str:
    if not file.is_file():
        raise UserError(f"{file.parent} is no run folder, as it has no {file.name}; name the folder of a run")
    return read_text(file)


def _run(name: str, cfg: CfgNode) -> Run:
    return Run(name, "", "", cfg, Data("", "", 0, "", "", ""), asked=True)


def _device(device: str | torch.device) -> torch.device:
    try:
        found = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise UserError(f"device {device!r}: unknown; allowed: cpu, cuda, cuda:0, ...") from error
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device {device!r}: this machine has {torch.cuda.device_count()} GPUs; use another, or cpu")
    return found


def _on(cfg: CfgNode, device: torch.device) -> CfgNode:
    """The same for one process that has a GPU or has not; the batch of a process stays."""
    batch = max(1, cfg.TEST.BATCH_SIZE // max(1, cfg.NUM_GPUS))
    return _changed(cfg, {"NUM_GPUS": int(device.type == "cuda"), "TEST.BATCH_SIZE": batch, "TEST.ENABLE": False})


def _changed(cfg: CfgNode, changes: Mapping[str, Any]) -> CfgNode:
    changed = cfg.clone()
    changed.defrost()
    merge(changed, opt_settings([word for pair in changes.items() for word in pair]), "transm3e.load")
    changed.freeze()
    return changed
