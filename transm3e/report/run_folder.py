"""The folder of a run: whose it is, and what is done in it already."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Protocol

from transm3e.cli import USER_MISTAKE
from transm3e.config.check import WITHOUT_WEIGHTS
from transm3e.config.plan import Run
from transm3e.engine.distributed import gather
from transm3e.engine.logging import LOG
from transm3e.errors import ExitRequest, UserError
from transm3e.files import make_folder
from transm3e.report.record import CONFIG, OWNER, check_owner, write_record
from transm3e.report.results import read_results

LOCK = ".lock"
LOCK_TRIES, LOCK_TRIES_OTHER_HOST, LOCK_WAIT_S = 20, 2400, 0.05
GPUS = "CUDA_VISIBLE_DEVICES"
RESULTS = "results.json"
# What a start leaves that has come to nothing.
BOOKKEEPING = {LOG, CONFIG, OWNER}


@dataclass(frozen=True)
class Holder:
    """Who works in a run's folder.

    Attributes:
        process: "process N on HOST"; "" in the moment before it says so.
        devices: its CUDA_VISIBLE_DEVICES; "" = all.
    """

    process: str
    devices: str


class HasFolder(Protocol):
    """A run, or as much of one as lies there."""

    @property
    def folder(self) -> Path: ...


@dataclass
class Start:
    """Whether training, of which something is to be kept whatever happens, has begun."""

    begun: bool = False


@contextmanager
def claim(run: Run, owner: Mapping[str, Any]) -> Iterator[Start]:
    """Make the run's folder with its record, and hold it against other processes meanwhile.

    A folder that is made here goes again where a user's mistake ends the run before anything is in it.

    Raises:
        UserError: as check_owner, or another process is working in the folder.
    """
    check_owner(run, owner)
    with _made(run.folder) as is_new, _open_lock(run.folder / LOCK) as lock:
        # The system frees it when this process ends, however that happens; loading processes do not inherit it.
        if not _locked(lock):
            lock.seek(0)
            raise UserError(
                f"{run.folder} is being worked in by {(lock.readline().strip()) or 'another process'}; wait for it, or "
                "choose another OUTPUT_DIR"
            )
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}\n{os.environ.get(GPUS, '')}\n")
        lock.flush()
        start = Start()
        try:
            write_record(run, owner)
            yield start
        except (UserError, ExitRequest) as end:
            is_mistake = getattr(end, "exit_status", USER_MISTAKE) == USER_MISTAKE
            if is_new and is_mistake and not start.begun and _is_unused(run.folder):
                shutil.rmtree(run.folder, ignore_errors=True)
            raise


@contextmanager
def _made(folder: Path) -> Iterator[bool]:
    """Make a folder; whether it is new. One that is empty in the end goes: network file systems keep a lock that is
    removed until it is closed."""
    is_new = not folder.exists()
    make_folder(folder, "OUTPUT_DIR or RUNS_DIR")
    try:
        yield is_new
    finally:
        if is_new:
            with suppress(OSError):
                folder.rmdir()


def _is_unused(folder: Path) -> bool:
    return all(file.name in BOOKKEEPING or file.name.startswith(LOCK) for file in folder.iterdir())


def _open_lock(file: Path) -> IO[str]:
    try:
        return file.open("a+", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write to {file.parent}: {error.strerror}; choose another OUTPUT_DIR") from error


def _locked(lock: IO[str]) -> bool:
    """Whether the lock could be taken.

    `holder` of another process may have it for a moment, and a network file system keeps that of a lost host for a while.
    """
    lock.seek(0)
    process = lock.readline().strip()
    is_here = not process or process.endswith(f" on {socket.gethostname()}")
    for _ in range(LOCK_TRIES if is_here else LOCK_TRIES_OTHER_HOST):
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except (BlockingIOError, PermissionError):
            time.sleep(LOCK_WAIT_S)
    return False


def holder(run: HasFolder) -> Holder | None:
    """Who works in the run's folder, as far as this machine sees; None where nobody does."""
    try:
        with (run.folder / LOCK).open(encoding="utf-8") as lock:
            try:
                fcntl.lockf(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                process, devices, *_ = [*lock.read().split("\n"), "", ""]
                return Holder(process, devices)
    except OSError:  # no run yet, or a folder of somebody else's: claim says which
        pass
    return None


def is_trained(run: Run) -> bool:
    """Whether nothing is left to train."""
    return not run.cfg.TRAIN.ENABLE or (run.cfg.TRAIN.AUTO_RESUME and run.final_checkpoint.is_file())


def is_evaluated(run: Run) -> bool:
    """Whether results.json is there and was made with these settings."""
    file = run.folder / RESULTS
    return not run.cfg.TEST.ENABLE or (file.is_file() and read_results(file)["run"].get("eval_id") == run.eval_id)


def evaluation_checkpoint(run: Run) -> Path | None:
    """The checkpoint to score; None for models without weights.

    Raises:
        UserError: none is there.
    """
    test = run.cfg.TEST
    if run.cfg.MODEL.MODEL_NAME in WITHOUT_WEIGHTS:
        return None
    if test.CHECKPOINT_FILE_PATH:
        return Path(test.CHECKPOINT_FILE_PATH)
    best = run.final_checkpoint.with_name("checkpoint_best.pyth")
    checkpoint = best if test.WHICH_CHECKPOINT == "best" else run.final_checkpoint
    if not checkpoint.is_file():
        raise UserError(
            f"no trained weights at {checkpoint}; train first (TRAIN.ENABLE True), or name a checkpoint in "
            "TEST.CHECKPOINT_FILE_PATH"
        )
    return checkpoint


def agreed(run: Run, owner: dict[str, Any]) -> tuple[Run, dict[str, Any]]:
    """A run as the main process has planned it: what another host sees of the data may be older."""
    places = run.cfg.OUTPUT_DIR, run.cfg.INIT.STUDENT_FROM, run.cfg.INIT.TEACHER_FROM
    (planned, its_places, owner), *_ = gather((replace(run, cfg=None, starts=()), places, owner))
    if its_places == places:
        return replace(planned, cfg=run.cfg, starts=run.starts), owner
    cfg = run.cfg.clone()
    cfg.defrost()
    cfg.OUTPUT_DIR, cfg.INIT.STUDENT_FROM, cfg.INIT.TEACHER_FROM = its_places
    cfg.freeze()
    return replace(planned, cfg=cfg, starts=run.starts), owner
