"""Logs of a run: the console, stdout.log with json_stats lines as PySlowFast writes them, TensorBoard."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import simplejson
import torch
from tqdm import tqdm

from transm3e.errors import ExitRequest, UserError, disk_fault
from transm3e.runs.folder import LOG

logger = logging.getLogger(__name__)
FORMAT = "[%(asctime)s][%(levelname)s] %(filename)s: %(lineno)4d: %(message)s"
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
    """Writes statistics as json_stats lines and, if enabled, to TensorBoard.

    Args:
        folder: of the run.
        tensorboard: whether to write `folder`/tensorboard.
        main: whether this process writes at all.
    """

    def __init__(self, folder: Path, tensorboard: bool, main: bool = True) -> None:
        self.main = main
        self.writer = None
        if tensorboard and main:
            from torch.utils.tensorboard import SummaryWriter

            try:
                self.writer = SummaryWriter(str(folder / "tensorboard"))
            except OSError as error:
                logger.warning("no TensorBoard scalars in this run: %s", disk_fault(error))

    def record(self, stats: dict[str, Any], step: int) -> None:
        """One json_stats line: sorted keys, five decimals; numbers also go to TensorBoard at `step`."""
        if not self.main:
            return
        rounded = {key: round(value, 5) if isinstance(value, float) else value for key, value in stats.items()}
        line = simplejson.dumps(rounded, sort_keys=True, use_decimal=True, ignore_nan=True)
        # The log attributes the line to the caller, as PySlowFast does.
        logger.info("json_stats: %s", line, stacklevel=2)
        if self.writer:
            numbers = {key: value for key, value in stats.items() if isinstance(value, (int, float))}
            try:
                for key, value in numbers.items():
                    self.writer.add_scalar(f"{stats['_type'].rstrip('_')}/{key}", value, step)
            except OSError as error:
                logger.warning("no more TensorBoard scalars in this run: %s", error)
                self.writer = None

    def close(self) -> None:
        if self.writer:
            try:
                self.writer.close()
            except OSError as error:
                logger.warning("the last TensorBoard scalars are not written: %s", error)


def memory_stats(device: torch.device) -> dict[str, str]:
    """Peak memory of the process ("RAM") and of the GPU ("gpu_mem"), in GiB."""
    import resource

    stats = {"RAM": f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f}G"}
    if device.type == "cuda":
        stats["gpu_mem"] = f"{torch.cuda.max_memory_allocated(device) / 2**30:.2f}G"
    return stats
