"""Several processes on torch.distributed: starting them, and what they tell each other."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from fvcore.common.config import CfgNode
from torch import nn

from transm3e.cli import USER_MISTAKE, exit_with_message
from transm3e.engine.signals import left_to
from transm3e.errors import ExitRequest, UserError


def rank() -> int:
    """Number of this process among all."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this process writes the files."""
    return rank() == 0


def barrier() -> None:
    """Wait for all processes."""
    if dist.is_initialized():
        dist.barrier()


def gather(item: Any) -> list[Any]:
    """Every process's item, in rank order, on every process."""
    if not dist.is_initialized():
        return [item]
    items: list[Any] = [None] * world_size()
    dist.all_gather_object(items, item)
    return items


def any_process(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set on any process."""
    if not dist.is_initialized():
        return flag
    tensor = torch.tensor(int(flag), device=device)
    dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return bool(tensor.item())


def wrap(model: nn.Module, device: torch.device) -> nn.Module:
    """The model in DDP if there are several processes."""
    if not dist.is_initialized():
        return model
    return nn.parallel.DistributedDataParallel(model, device_ids=[device.index] if device.type == "cuda" else None)


def select_device(num_gpus: int, local_rank: int = 0) -> torch.device:
    """The device of this process.

    Raises:
        UserError: more GPUs are asked for than there are.
    """
    if num_gpus == 0:
        return torch.device("cpu")
    found = torch.cuda.device_count()
    if found < num_gpus:
        raise UserError(
            f"NUM_GPUS is {num_gpus}, but torch sees {found}; set NUM_GPUS {found}"
            f"{' (0 computes on the CPU)' if found == 0 else ''}, or run python -m transm3e.doctor to find out why"
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def launch(function: Callable[..., None], cfg: CfgNode, init_method: str, *args: Any) -> None:
    """Call function(*args, device) on every process of this machine: one per GPU, or as torchrun started them.

    Args:
        function: importable by name, since processes are spawned.
        cfg: NUM_GPUS, NUM_SHARDS, SHARD_ID and DIST_BACKEND are read.
        init_method: address for several machines, "tcp://host:port"; "" picks a free local port.

    Raises:
        UserError: several machines without an address, or more GPUs asked for than there are.
        ExitRequest: a process ended by intent and has said why; its status is that process's.
    """
    processes = max(1, cfg.NUM_GPUS)
    if "LOCAL_RANK" in os.environ:
        _check_torchrun(processes * cfg.NUM_SHARDS)
        _run_process(int(os.environ["LOCAL_RANK"]), function, cfg, "env://", args)
    elif processes * cfg.NUM_SHARDS == 1:
        _limit_threads(cfg.CPU_THREADS)
        function(*args, select_device(cfg.NUM_GPUS))
    else:
        select_device(cfg.NUM_GPUS)
        if cfg.NUM_SHARDS > 1 and not init_method:
            raise UserError(
                "NUM_SHARDS > 1 needs --init_method tcp://HOST:PORT of machine 0, the same on every machine"
            )
        method = init_method or f"tcp://127.0.0.1:{_free_port()}"
        ends = mp.get_context("spawn").SimpleQueue()
        try:
            started = mp.spawn(_spawned, (ends, function, cfg, method, args), nprocs=processes, join=False)
            with left_to(started.pids):
                while not started.join():
                    pass
        except (mp.ProcessExitedException, mp.ProcessRaisedException) as error:
            # The first that ended by intent; the others may fail sooner, for want of it.
            if not ends.empty():
                process, status = ends.get()
            elif isinstance(error, mp.ProcessExitedException):
                process, status = error.error_index, error.exit_code
            else:
                raise
            raise ExitRequest(f"process {process} ended the run, see above", status) from None


def _spawned(local_rank: int, ends: Any, function: Callable[..., None], *args: Any) -> None:
    with exit_with_message():
        _run_process(local_rank, partial(_announce_end, ends, local_rank, function), *args)


def _announce_end(ends: Any, local_rank: int, function: Callable[..., None], *args: Any) -> None:
    """Call the function; tell of an end by intent before this process leaves the group."""
    try:
        function(*args)
    except (UserError, ExitRequest) as end:
        ends.put((local_rank, end.exit_status if isinstance(end, ExitRequest) else USER_MISTAKE))
        raise


def _run_process(local_rank: int, function: Callable[..., None], cfg: CfgNode, method: str, args: tuple) -> None:
    _limit_threads(cfg.CPU_THREADS)
    device = select_device(cfg.NUM_GPUS, local_rank)
    processes = max(1, cfg.NUM_GPUS)
    place = (
        {}
        if method == "env://"
        else {"rank": cfg.SHARD_ID * processes + local_rank, "world_size": processes * cfg.NUM_SHARDS}
    )
    dist.init_process_group("gloo" if device.type == "cpu" else cfg.DIST_BACKEND, init_method=method, **place)
    try:
        function(*args, device)
    finally:
        dist.destroy_process_group()


def _check_torchrun(expected: int) -> None:
    started = int(os.environ["WORLD_SIZE"])
    if started != expected:
        raise UserError(
            f"torchrun started {started} processes, but NUM_GPUS x NUM_SHARDS is {expected}; set NUM_GPUS to its "
            "--nproc_per_node and NUM_SHARDS to its --nnodes, which is what TRAIN.BATCH_SIZE (per machine) is divided by"
        )


def _limit_threads(number: int) -> None:
    if number:
        torch.set_num_threads(number)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
