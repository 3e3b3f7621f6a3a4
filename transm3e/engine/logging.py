"""Logs of a run: the console, stdout.log with json_stats lines as PySlowFast writes them, and LOG.BACKENDS."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import simplejson
import torch
from tqdm import tqdm

from transm3e.engine.writers import Writers
from transm3e.errors import ExitRequest, UserError, disk_fault
from transm3e.runs.folder import LOG

logger = logging.getLogger(__name__)
FORMAT = "[%(asctime)s][%(levelname)s] %(filename)s: %(lineno)4d: %(message)s"
# Of json_stats lines -> of tags; epochs' means are beside the steps' own.
TAGS = {"train_iter_": "Train", "train_epoch": "TrainEpoch", "val_epoch": "Val"}
NAMES = {"map": "mAP", "val_loss": "loss"}
DATES = "%m/%d %H:%M:%S"


class _Console(logging.Handler):
    """Messages on standard error, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


class _File(logging.FileHandler):
    """stdout.log; if it cannot be written (disk full), training continues without it and warns once."""

    warned = False

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self.warned:
            self.warned = True
            tqdm.write(f"warning: {self.baseFilename} is incomplete from here on: {error.strerror}", file=sys.stderr)

    def close(self) -> None:
        # Tries again to write what is still buffered.
        with suppress(OSError):
            super().close()


@contextmanager
def log_to(folder: Path, main: bool = True) -> Iterator[None]:
    """Log to the console and to `folder`/stdout.log; processes other than the main one log warnings to the console only.

    Raises:
        UserError: the folder cannot be made or written to.
    """
    root = logging.getLogger("transm3e")
    handlers: list[logging.Handler] = [_Console()]
    if main:
        handlers.append(_log_file(folder))
    for handler in handlers:
        handler.setFormatter(logging.Formatter(FORMAT, DATES))
        root.addHandler(handler)
    before, propagate = root.level, root.propagate
    root.setLevel(logging.INFO if main else logging.WARNING)
    root.propagate = False
    try:
        yield
    except (UserError, ExitRequest) as end:
        # The command line prints it to the console; the run's log needs it as well.
        root.removeHandler(handlers[0])
        logger.error("%s", end)
        raise
    finally:
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()
        root.setLevel(before)
        root.propagate = propagate


def _log_file(folder: Path) -> logging.Handler:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _File(folder / LOG, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}: {disk_fault(error, 'choose another OUTPUT_DIR or RUNS_DIR')}"
        ) from error


class Recorder:
    """Writes statistics as json_stats lines and to the backends of LOG.BACKENDS, under the tags that PySlowFast has.

    Args:
        folder: of the run.
        backends: names of them.
        main: whether this process writes at all.
    """

    def __init__(self, folder: Path, backends: Sequence[str] = (), main: bool = True) -> None:
        self.main = main
        self.writers = Writers(folder, backends if main else ())

    def record(self, stats: dict[str, Any], step: int) -> None:
        """One json_stats line: sorted keys, five decimals; numbers also go to the backends at `step`."""
        if not self.main:
            return
        rounded = {key: round(value, 5) if isinstance(value, float) else value for key, value in stats.items()}
        line = simplejson.dumps(rounded, sort_keys=True, use_decimal=True, ignore_nan=True)
        # The log attributes the line to the caller, as PySlowFast does.
        logger.info("json_stats: %s", line, stacklevel=2)
        of = TAGS.get(stats["_type"], stats["_type"])
        self.scalars({f"{of}/{NAMES.get(key, key)}": value for key, value in stats.items()}, step)

    def scalars(self, values: Mapping[str, Any], step: int) -> None:
        """Numbers by tag, to the backends only."""
        self.writers.call("scalars", {tag: value for tag, value in values.items() if type(value) in (int, float)}, step)

    def text(self, name: str, text: str) -> None:
        self.writers.call("text", name, text)

    def figure(self, file: Path, step: int) -> None:
        self.writers.call("figure", file, step)

    def weights(self, state: Mapping[str, torch.Tensor], layers: Sequence[str], step: int) -> None:
        """Histograms of weights; `layers`: beginnings of their names, [""] = all."""
        for name, values in state.items() if self.writers.open else ():
            if values.is_floating_point() and name.startswith(tuple(layers)):
                self.writers.call("histogram", f"Weights/{name}", values.detach().float().cpu(), step)

    def close(self) -> None:
        self.writers.call("close")


@dataclass(frozen=True)
class Validation:
    """What a validation found.

    Attributes:
        found: split -> score, such as its mAP; with a slash, as "known_val/loss", further numbers.
    """

    found: Mapping[str, float]

    @property
    def scores(self) -> dict[str, float]:
        return {name: value for name, value in self.found.items() if "/" not in name}

    @property
    def mean(self) -> float:
        return sum(self.scores.values()) / len(self.scores)

    @property
    def stats(self) -> dict[str, float]:
        """The scores, and the mean loss of the splits as "val_loss"."""
        losses = [value for name, value in self.found.items() if name.endswith("/loss")]
        return {**self.scores, **({"val_loss": sum(losses) / len(losses)} if losses else {})}

    @property
    def tags(self) -> dict[str, float]:
        return {f"Val/{name}": value for name, value in self.found.items() if "/" in name}

    def line(self, epoch: int, epochs: int, metric: str) -> dict[str, Any]:
        """The line of the log."""
        return {"_type": "val_epoch", "epoch": f"{epoch}/{epochs}", metric: self.mean, **self.stats}


def memory_stats(device: torch.device) -> dict[str, str]:
    """Peak memory of the process ("RAM") and of the GPU ("gpu_mem"), in GiB."""
    import resource

    stats = {"RAM": f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f}G"}
    if device.type == "cuda":
        stats["gpu_mem"] = f"{torch.cuda.max_memory_allocated(device) / 2**30:.2f}G"
    return stats
