"""The processes of a run on this host: started here, one per GPU, or by torchrun or srun."""

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
from transm3e.engine.processes.device import ProcessInfo, launched_process, sharded_process
from transm3e.engine.processes.distributed import joined, select_device
from transm3e.engine.processes.signals import forward_signals
from transm3e.engine.seed import set_deterministic
from transm3e.errors import RESUMES, ExitRequest, UserError
from transm3e.registry import import_files


def launch(function: Callable[..., None], cfg: CfgNode, init_method: str, *args: Any) -> None:
    """Call function(*args, device) in every process of this host.

    These are the processes that torchrun or srun started, or else one per GPU (NUM_GPUS) started here, or this process
    alone; with NUM_SHARDS, this host is one of several.

    Args:
        function: importable by name, as processes are spawned.
        cfg: NUM_GPUS, NUM_SHARDS, SHARD_ID, DIST_BACKEND, DIST_TIMEOUT, CPU_THREADS and DETERMINISTIC are read.
        init_method: address if there are several hosts, "tcp://host:port"; "" picks a free local port.

    Raises:
        UserError: several hosts without an address, fewer GPUs than NUM_GPUS, or as launched_process.
        ExitRequest: a process ended with a message, or was killed; the exit status is that process's.
    """
    process = launched_process(cfg, init_method, os.environ)
    processes = max(1, cfg.NUM_GPUS)
    if process:
        _run_process(process, function, cfg, args)
    elif processes * cfg.NUM_SHARDS == 1:
        _prepare(cfg)
        function(*args, select_device(cfg.NUM_GPUS))
    else:
        if cfg.NUM_SHARDS > 1 and not init_method:
            raise UserError("NUM_SHARDS > 1 needs --init_method tcp://HOST:PORT of host 0, the same on every host")
        init_method = init_method or f"tcp://127.0.0.1:{_free_port()}"
        if processes == 1:
            _run_process(sharded_process(cfg, init_method, 0), function, cfg, args)
        else:
            select_device(cfg.NUM_GPUS)
            _spawn(function, cfg, init_method, args, processes)


def has_main_process(cfg: CfgNode, init_method: str) -> bool:
    """Whether the main process of a run is this one or started by it."""
    process = launched_process(cfg, init_method, os.environ)
    return process.rank == 0 if process else cfg.SHARD_ID == 0


def starts_all_processes(cfg: CfgNode, init_method: str) -> bool:
    """Whether this program starts all processes of a run."""
    return cfg.NUM_SHARDS == 1 and launched_process(cfg, init_method, os.environ) is None


def _spawn(function: Callable[..., None], cfg: CfgNode, init_method: str, args: tuple, processes: int) -> None:
    ends = mp.get_context("spawn").SimpleQueue()
    try:
        started = mp.spawn(_spawned, (ends, function, cfg, init_method, args), nprocs=processes, join=False)
        with forward_signals(started.pids):
            while not started.join():
                pass
    except (mp.ProcessExitedException, mp.ProcessRaisedException) as error:
        # The first that ended with a message; others may have failed earlier because it left.
        if not ends.empty():
            process, status = ends.get()
            raise ExitRequest(f"process {process} ended the run, see above", status) from None
        if not isinstance(error, mp.ProcessExitedException):
            raise
        raise _exited(sharded_process(cfg, init_method, error.error_index), error.exit_code) from None


def _exited(process: ProcessInfo, status: int) -> ExitRequest:
    how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    return ExitRequest(
        f"rank {process.rank} (process {process.local_rank} of {process.local_size} on {socket.gethostname()}) {how}, and the "
        f"others were ended; {RESUMES} from the last checkpoint",
        128 - status if status < 0 else status,
    )


def _spawned(
    local_rank: int, ends: Any, function: Callable[..., None], cfg: CfgNode, init_method: str, args: tuple
) -> None:
    with exit_with_message():
        process = sharded_process(cfg, init_method, local_rank)
        _run_process(process, partial(_report_exit, ends, local_rank, function), cfg, args)


def _report_exit(ends: Any, local_rank: int, function: Callable[..., None], *args: Any) -> None:
    """Call the function; report an intended exit before this process leaves the group."""
    try:
        function(*args)
    except (UserError, ExitRequest) as end:
        ends.put((local_rank, end.exit_status if isinstance(end, ExitRequest) else USER_MISTAKE))
        raise


def _run_process(process: ProcessInfo, function: Callable[..., None], cfg: CfgNode, args: tuple) -> None:
    _prepare(cfg)
    device = select_device(cfg.NUM_GPUS, process.local_rank, own=process.local_size > 1)
    with joined(process, device, "gloo" if device.type == "cpu" else cfg.DIST_BACKEND, cfg.DIST_TIMEOUT):
        function(*args, device)


def _prepare(cfg: CfgNode) -> None:
    """Settings of the whole process, before anything runs on a device."""
    if cfg.CPU_THREADS:
        torch.set_num_threads(cfg.CPU_THREADS)
    import_files(cfg.IMPORTS)
    set_deterministic(cfg.DETERMINISTIC)
    if cfg.DATA_LOADER.NUM_WORKERS and hasattr(os, "fork"):
        warm_up()  # while the process group forms and the model is built


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
