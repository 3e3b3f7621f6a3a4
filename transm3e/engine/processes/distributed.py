"""Collectives over the processes of a run, on torch.distributed; joining and leaving the process group."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from transm3e.cli import FAILED, INTERRUPTED, USER_MISTAKE
from transm3e.engine.processes.device import ProcessInfo
from transm3e.engine.processes.session import agree_on_session
from transm3e.engine.processes.watch import Watch
from transm3e.errors import ExitRequest, UserError, first_line, is_out_of_memory

# The watch detects lost processes after DIST_TIMEOUT; torch's own limit, so many times longer, is only a fallback.
BACKSTOP = 10


class _State:
    """This process, its watch, and the rendezvous stores it has joined.

    Several runs of one command share a store: a process could otherwise connect to the old store before it is closed.
    """

    process = ProcessInfo()
    watch: Watch | None = None
    stores: ClassVar[dict[str, Any]] = {}


def rank() -> int:
    """Number of this process among all, from 0."""
    return _State.process.rank


def world_size() -> int:
    """Number of processes."""
    return _State.process.world_size


def local_size() -> int:
    """Number of processes on this host."""
    return _State.process.local_size


def num_hosts() -> int:
    """Number of hosts; each runs the same number of processes."""
    return _State.process.num_hosts


def is_main() -> bool:
    """Whether this process writes the files."""
    return rank() == 0


def barrier() -> None:
    """Wait for all processes."""
    if dist.is_initialized():
        # Works on CPUs and GPUs without choosing a device.
        gather(None)


def gather(item: Any) -> list[Any]:
    """The items of all processes, in rank order, on every process."""
    if not dist.is_initialized():
        return [item]
    items: list[Any] = [None] * world_size()
    with collective("an all-gather of results"):
        dist.all_gather_object(items, item)
    return items


def highest(numbers: Sequence[int], device: torch.device) -> list[int]:
    """Each number's maximum over all processes, by one all-reduce."""
    if not dist.is_initialized():
        return list(numbers)
    with collective("an all-reduce of flags"):
        return highest_of(torch.tensor(numbers, device=device)).tolist()


def highest_of(tensor: torch.Tensor) -> torch.Tensor:
    """The same in a tensor, within a collective: on a GPU the processor does not wait for it."""
    if dist.is_initialized():
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return tensor


@contextmanager
def collective(what: str) -> Iterator[None]:
    """A part of the program that all processes must reach; one that does not is named after DIST_TIMEOUT.

    Args:
        what: describes it in messages.

    Raises:
        ExitRequest: the collective failed because another process is gone or has ended.
    """
    watch = _State.watch
    if watch is None:
        yield
        return
    try:
        with watch.waiting(f"{what}, {watch.where}"):
            yield
    except RuntimeError as error:
        if not is_out_of_memory(error) and (end := watch.explain(error)):
            raise end from error
        raise


def note(where: str) -> None:
    """Tell the other processes that this one makes progress: it is at `where` now."""
    if _State.watch:
        _State.watch.note(where)


def select_device(num_gpus: int, local_rank: int = 0, own: bool = False) -> torch.device:
    """The device of this process.

    Args:
        own: the launcher may have restricted each process to one visible GPU.

    Raises:
        UserError: there are fewer GPUs than NUM_GPUS.
    """
    if num_gpus == 0:
        return torch.device("cpu")
    found = torch.cuda.device_count()
    if own and found == 1:
        local_rank = 0
    elif found < num_gpus:
        raise UserError(
            f"NUM_GPUS is {num_gpus}, but torch sees {found}; set NUM_GPUS {found}"
            f"{' (0 computes on the CPU)' if found == 0 else ''}, or run python -m transm3e.doctor to find out why"
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


@contextmanager
def joined(process: ProcessInfo, device: torch.device, backend: str, timeout_s: float) -> Iterator[None]:
    """Join the process group, watch the other processes meanwhile, and leave together.

    Args:
        backend: of torch.distributed.
        timeout_s: how long to wait for processes that do not arrive or make no progress.

    Raises:
        UserError: not all processes joined in time.
        ExitRequest: another process is gone, stuck, or has ended the run; its message names it.
    """
    limit = timedelta(seconds=timeout_s)
    try:
        if process.init_method not in _State.stores:
            _State.stores[process.init_method], *_ = next(
                rendezvous(process.init_method, process.rank, process.world_size, timeout=limit)
            )
        store = _State.stores[process.init_method]
        session = agree_on_session(dist.PrefixStore("transm3e", store), process.rank, process.world_size, timeout_s)
    except (dist.DistError, RuntimeError, ValueError, TimeoutError) as error:
        raise UserError(
            f"rank {process.rank} of {process.world_size} could not join the others at {process.init_method}: "
            f"{first_line(error)}; start all of them, and check that the address can be reached from here and its port "
            f"is free (DIST_TIMEOUT {timeout_s:g} s)"
        ) from error
    own = dist.PrefixStore(f"transm3e/{session}", store)
    _State.process = process
    connection = dist.PrefixStore(f"transm3e/{session}/watch", _second_connection(store, limit))
    watch = _State.watch = Watch(connection, process.rank, process.world_size, stall_s=timeout_s)
    # The watch detects lost processes and names them; NCCL's own error handling would end this process first.
    os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0")
    try:
        dist.init_process_group(
            backend, store=own, rank=process.rank, world_size=process.world_size, timeout=BACKSTOP * limit
        )
        watch.start()
        yield
        watch.leave()
    except BaseException as error:
        end = _exit_request(error)
        watch.leave_with(str(end), end.exit_status)
        _leave_group(after_error=True)
        raise
    _leave_group()


def _leave_group(after_error: bool = False) -> None:
    _State.process, _State.watch = ProcessInfo(), None
    # After an error NCCL would wait for data that the others never send.
    if dist.is_initialized() and not (after_error and dist.get_backend() == "nccl"):
        dist.destroy_process_group()


def _exit_request(error: BaseException) -> ExitRequest:
    """The exit status of this process and the message that the others receive."""
    if isinstance(error, ExitRequest):
        return error
    if isinstance(error, UserError):
        return ExitRequest(f"error: {error}", USER_MISTAKE)
    if isinstance(error, KeyboardInterrupt):
        return ExitRequest("interrupted", INTERRUPTED)
    return ExitRequest(f"{type(error).__name__}: {first_line(error)}", FAILED)


def _second_connection(store: Any, limit: timedelta) -> Any:
    """A second connection to a TCP store: the watch must not wait while torch uses the first."""
    while isinstance(store, dist.PrefixStore):
        store = store.underlying_store
    if not isinstance(store, dist.TCPStore):
        return store
    return dist.TCPStore(store.host, store.port, is_master=False, wait_for_workers=False, timeout=limit)
