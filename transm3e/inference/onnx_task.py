"""Exported models (tools/export.py) run by onnxruntime, an optional extra; the file holds its config."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from transm3e.config.load import cfg_from_text
from transm3e.data.activities import Activities
from transm3e.data.types import Batch
from transm3e.errors import UserError, first_line
from transm3e.tasks import Classify
from transm3e.tasks.build import build_classify

CFG_ENTRY, ACTIVITIES_ENTRY = "transm3e_cfg", "transm3e_activities"


def optional(module: str) -> Any:
    """A module of the extra `onnx`.

    Raises:
        UserError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise UserError(f"{module.partition('.')[0]} is not installed; pip install -e '.[onnx]'") from error


class OnnxTask:
    """Takes the place of a trained task in evaluation.

    Attributes:
        cfg: of the exported model.
        target, columns: as Classify's.
    """

    def __init__(self, session: Any, cfg: CfgNode, task: Classify) -> None:
        self.cfg, self._session, self._task = cfg, session, task
        self.target, self.columns, self.conclude = task.target, task.columns, task.conclude

    @classmethod
    def read(cls, file: Path, device: str = "cpu") -> OnnxTask:
        """Raises UserError: onnxruntime is not installed, or it is no file of tools/export.py."""
        if not file.is_file():
            raise UserError(f"no model at {file.absolute()}; check the path")
        session = open_session(file, device)
        entries = session.get_modelmeta().custom_metadata_map
        if CFG_ENTRY not in entries:
            raise UserError(f"{file} has no config inside, so it is no file of tools/export.py; export it again")
        cfg = cfg_from_text(entries[CFG_ENTRY], f"the config inside {file}")
        plain = json.loads(entries.get(ACTIVITIES_ENTRY, "null"))
        activities = Activities.from_plain(plain, str(file)) if plain else None
        return cls(session, cfg, build_classify(cfg, nn.Identity(), activities))

    def predict(self, batch: Batch) -> Tensor:
        """Scores (B, C) of a batch, on the CPU."""
        return torch.from_numpy(run_session(self._session, batch.clips))


def open_session(file: Path, device: str = "cpu") -> Any:
    """An onnxruntime.InferenceSession.

    Raises:
        UserError: onnxruntime is not installed, or cannot read the file.
    """
    onnxruntime = optional("onnxruntime")
    wanted = ["CUDAExecutionProvider"] if device == "cuda" else []
    there = [name for name in (*wanted, "CPUExecutionProvider") if name in onnxruntime.get_available_providers()]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=there)
    except Exception as error:  # its classes of errors have no common base
        raise UserError(f"{file}: onnxruntime cannot read it ({first_line(error)}); export it again") from error


def run_session(session: Any, clips: Mapping[str, Tensor]) -> np.ndarray:
    """Scores (B, C) float32 of Batch.clips."""
    inputs = {entry.name: clips[entry.name].cpu().contiguous().numpy() for entry in session.get_inputs()}
    scores: np.ndarray = session.run(None, inputs)[0]
    return scores
