"""The processes of a run on this machine: started here, one per GPU, or by torchrun or srun."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.multiprocessing as mp
from fvcore.common.config import CfgNode

from transm3e.cli import USER_MISTAKE, exit_with_message
from transm3e.data.forking import warm_up
from transm3e.engine.processes.device import Place, launched_place, shard_place
from transm3e.engine.processes.distributed import joined, select_device
from transm3e.engine.processes.signals import left_to
from transm3e.engine.seed import set_deterministic
from transm3e.errors import RESUMES, ExitRequest, UserError
from transm3e.registry import import_files


def launch(function: Callable[..., None], cfg: CfgNode, init_method: str, *args: Any) -> None:
    """Call function(*args, device) on every process of this machine.

    These are the processes that torchrun or srun has started, or one per GPU (NUM_GPUS) that is started here, or this
    one, also as one of several machines (NUM_SHARDS).

    Args:
        function: importable by name, since processes are spawned.
        cfg: NUM_GPUS, NUM_SHARDS, SHARD_ID, DIST_BACKEND, DIST_TIMEOUT, CPU_THREADS and DETERMINISTIC are read.
        init_method: address for several machines, "tcp://host:port"; "" picks a free local port.

    Raises:
        UserError: several machines without an address, more GPUs asked for than there are, or as launched_place.
        ExitRequest: a process ended by intent and has said why, or was killed; its status is that process's.
    """
    place = launched_place(cfg, init_method, os.environ)
    processes = max(1, cfg.NUM_GPUS)
    if place:
        _run_process(place, function, cfg, args)
    elif processes * cfg.NUM_SHARDS == 1:
        _prepare(cfg)
        function(*args, select_device(cfg.NUM_GPUS))
    else:
        if cfg.NUM_SHARDS > 1 and not init_method:
            raise UserError(
                "NUM_SHARDS > 1 needs --init_method tcp://HOST:PORT of machine 0, the same on every machine"
            )
        meeting = init_method or f"tcp://127.0.0.1:{_free_port()}"
        if processes == 1:
            _run_process(shard_place(cfg, meeting, 0), function, cfg, args)
        else:
            select_device(cfg.NUM_GPUS)
            _spawn(function, cfg, meeting, args, processes)


def leads(cfg: CfgNode, init_method: str) -> bool:
    """Whether the main process of a run is this one, or one that it starts."""
    place = launched_place(cfg, init_method, os.environ)
    return place.rank == 0 if place else cfg.SHARD_ID == 0


def is_alone(cfg: CfgNode, init_method: str) -> bool:
    """Whether this program starts all processes of a run."""
    return cfg.NUM_SHARDS == 1 and launched_place(cfg, init_method, os.environ) is None


def _spawn(function: Callable[..., None], cfg: CfgNode, meeting: str, args: tuple, processes: int) -> None:
    ends = mp.get_context("spawn").SimpleQueue()
    try:
        started = mp.spawn(_spawned, (ends, function, cfg, meeting, args), nprocs=processes, join=False)
        with left_to(started.pids):
            while not started.join():
                pass
    except (mp.ProcessExitedException, mp.ProcessRaisedException) as error:
        # The first that ended by intent; the others may fail sooner, for want of it.
        if not ends.empty():
            process, status = ends.get()
            raise ExitRequest(f"process {process} ended the run, see above", status) from None
        if not isinstance(error, mp.ProcessExitedException):
            raise
        raise _exited(shard_place(cfg, meeting, error.error_index), error.exit_code) from None


def _exited(place: Place, status: int) -> ExitRequest:
    how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    return ExitRequest(
        f"rank {place.rank} (process {place.local_rank} of {place.local_size} on {socket.gethostname()}) {how}, and the "
        f"others were ended; {RESUMES} from the last checkpoint",
        128 - status if status < 0 else status,
    )


def _spawned(
    local_rank: int, ends: Any, function: Callable[..., None], cfg: CfgNode, meeting: str, args: tuple
) -> None:
    with exit_with_message():
        place = shard_place(cfg, meeting, local_rank)
        _run_process(place, partial(_announce_end, ends, local_rank, function), cfg, args)


def _announce_end(ends: Any, local_rank: int, function: Callable[..., None], *args: Any) -> None:
    """Call the function; tell of an end by intent before this process leaves the group."""
    try:
        function(*args)
    except (UserError, ExitRequest) as end:
        ends.put((local_rank, end.exit_status if isinstance(end, ExitRequest) else USER_MISTAKE))
        raise


def _run_process(place: Place, function: Callable[..., None], cfg: CfgNode, args: tuple) -> None:
    _prepare(cfg)
    device = select_device(cfg.NUM_GPUS, place.local_rank, own=place.local_size > 1)
    with joined(place, device, "gloo" if device.type == "cpu" else cfg.DIST_BACKEND, cfg.DIST_TIMEOUT):
        function(*args, device)


def _prepare(cfg: CfgNode) -> None:
    """What holds for a whole process, before anything runs on a device."""
    if cfg.CPU_THREADS:
        torch.set_num_threads(cfg.CPU_THREADS)
    import_files(cfg.IMPORTS)
    set_deterministic(cfg.DETERMINISTIC)
    if cfg.DATA_LOADER.NUM_WORKERS and hasattr(os, "fork"):
        warm_up()  # while processes meet and the model is built


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
