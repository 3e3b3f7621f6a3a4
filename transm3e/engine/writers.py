"""Where scalars, figures and the config of a run go (LOG.BACKENDS): each backend behind the few methods of Writer."""

from __future__ import annotations

import csv
import importlib.util
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode
from torch import Tensor

from transm3e.errors import UserError, first_line

logger = logging.getLogger(__name__)


class Writer:
    """A backend; methods that it does not have are without effect.

    Args:
        folder: of the run. Opened again, a run is continued.
    """

    package = ""

    def __init__(self, folder: Path) -> None:
        raise NotImplementedError

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Tag -> number; steps of Train/... are optimiser steps, those of other tags epochs."""

    def text(self, name: str, text: str) -> None:
        """A text, such as the config."""

    def figure(self, file: Path, step: int) -> None:
        """A .png file."""

    def histogram(self, name: str, values: Tensor, step: int) -> None:
        """The distribution of a tensor's numbers."""

    def close(self) -> None:
        """Write what is left."""


class TensorBoard(Writer):
    """Event files in tensorboard/."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder / "tensorboard"))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        for tag, value in values.items():
            self.writer.add_scalar(tag, value, step)

    def text(self, name: str, text: str) -> None:
        # Four spaces make it code in Markdown.
        self.writer.add_text(name, "".join(f"    {line}\n" for line in text.splitlines()))

    def figure(self, file: Path, step: int) -> None:
        import cv2
        import numpy as np

        # Read by numpy, as OpenCV cannot open every path.
        picture = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None, file
        self.writer.add_image(file.stem, picture[..., ::-1].copy(), step, dataformats="HWC")

    def histogram(self, name: str, values: Tensor, step: int) -> None:
        self.writer.add_histogram(name, values, step)

    def close(self) -> None:
        self.writer.close()


class Csv(Writer):
    """metrics.csv: step, tag, value; of a step that is repeated after resuming the last line counts."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "metrics.csv"
        if not self.file.is_file():
            self._append([("step", "tag", "value")])

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._append((step, tag, value) for tag, value in values.items())

    def _append(self, rows: Iterable[tuple]) -> None:
        with self.file.open("a", newline="", encoding="utf-8") as lines:
            csv.writer(lines, lineterminator="\n").writerows(rows)


class WandB(Writer):
    """Weights & Biases; WANDB_PROJECT, WANDB_MODE, ... are its own settings."""

    package = "wandb"

    def __init__(self, folder: Path) -> None:
        import wandb

        self.wandb = wandb
        project, known = os.environ.get("WANDB_PROJECT", "transm3e"), folder / "wandb_run_id"
        # Not the folder's name: another folder, or another user's, may have the same.
        self.run = wandb.init(project=project, name=folder.name, id=_read_id(known), resume="allow", dir=str(folder))
        known.write_text(self.run.id, encoding="ascii")
        # Epochs and steps are counted apart.
        self.run.define_metric("step")
        self.run.define_metric("*", step_metric="step")

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self.run.log({**values, "step": step})

    def text(self, name: str, text: str) -> None:
        self.run.config.update({name: text}, allow_val_change=True)

    def figure(self, file: Path, step: int) -> None:
        self.run.log({file.stem: self.wandb.Image(str(file)), "step": step})

    def histogram(self, name: str, values: Tensor, step: int) -> None:
        self.run.log({name: self.wandb.Histogram(values.numpy()), "step": step})

    def close(self) -> None:
        self.run.finish()


class MLflow(Writer):
    """MLflow: a run of the experiment transm3e, in mlruns/ unless MLFLOW_TRACKING_URI says where."""

    package = "mlflow"

    def __init__(self, folder: Path) -> None:
        import mlflow

        self.mlflow = mlflow
        if not os.environ.get("MLFLOW_TRACKING_URI"):
            mlflow.set_tracking_uri((folder / "mlruns").absolute().as_uri())
        mlflow.set_experiment("transm3e")
        known = folder / "mlflow_run_id"
        run_id = _read_id(known)
        started = mlflow.start_run(run_id=run_id, run_name=None if run_id else folder.name)
        known.write_text(started.info.run_id, encoding="ascii")

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self.mlflow.log_metrics(dict(values), step=step)

    def text(self, name: str, text: str) -> None:
        self.mlflow.log_text(text, f"{name}.txt")

    def figure(self, file: Path, step: int) -> None:
        self.mlflow.log_artifact(str(file))

    def close(self) -> None:
        self.mlflow.end_run()


def _read_id(file: Path) -> str | None:
    return file.read_text(encoding="ascii") if file.is_file() else None


WRITERS: dict[str, type[Writer]] = {"tensorboard": TensorBoard, "csv": Csv, "wandb": WandB, "mlflow": MLflow}


def backends_of(cfg: CfgNode) -> tuple[str, ...]:
    """Names of the backends of a config.

    Raises:
        UserError: the package of one is not installed.
    """
    names = tuple(n for n in dict.fromkeys(cfg.LOG.BACKENDS) if n != "tensorboard" or cfg.TENSORBOARD.ENABLE)
    for name in names:
        package = WRITERS[name].package
        if package and importlib.util.find_spec(package) is None:
            raise UserError(
                f"LOG.BACKENDS names {name}, but the package {package} is not installed; run pip install {package}, or "
                "remove it from LOG.BACKENDS"
            )
    return names


def check_backends(cfgs: Iterable[CfgNode]) -> None:
    """backends_of each, before anything is trained."""
    for cfg in cfgs:
        backends_of(cfg)


class Writers:
    """Several backends as one; one that fails is left out from then on, with a warning.

    Args:
        folder: of the run.
        names: keys of WRITERS.
    """

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self.open: dict[str, Writer] = {}
        for name in names:
            self._try(name, partial(self._open, name, folder))

    def call(self, method: str, *values: Any) -> None:
        """Call a method of every Writer."""
        for name, writer in list(self.open.items()):
            self._try(name, partial(getattr(writer, method), *values))

    def _open(self, name: str, folder: Path) -> None:
        self.open[name] = WRITERS[name](folder)

    def _try(self, name: str, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # a log, such as one sent over a network, must not end a training
            self.open.pop(name, None)
            logger.warning("no more logs to %s in this run: %s", name, first_line(error))
