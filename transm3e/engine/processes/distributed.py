"""What several processes tell each other, on torch.distributed."""

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
from transm3e.engine.processes.device import Place
from transm3e.engine.processes.session import agree_on_session
from transm3e.engine.processes.watch import Watch
from transm3e.errors import ExitRequest, UserError, first_line, is_out_of_memory

# The watch judges by DIST_TIMEOUT who is lost; torch's own limit only ends what it overlooks.
BACKSTOP = 10


class _Here:
    """This process's place among all, its watch, and the stores that it has met the others at.

    Several runs of one command meet at one store: a new one could be reached before the old one is gone.
    """

    place = Place()
    watch: Watch | None = None
    stores: ClassVar[dict[str, Any]] = {}


def rank() -> int:
    """Number of this process among all."""
    return _Here.place.rank


def world_size() -> int:
    """Number of processes."""
    return _Here.place.world_size


def local_size() -> int:
    """Number of processes on this machine."""
    return _Here.place.local_size


def machines() -> int:
    """Number of machines; each runs as many processes."""
    return _Here.place.machines


def is_main() -> bool:
    """Whether this process writes the files."""
    return rank() == 0


def barrier() -> None:
    """Wait for all processes."""
    if dist.is_initialized():
        # On the CPU and on GPUs alike, without a device of its own.
        gather(None)


def gather(item: Any) -> list[Any]:
    """Every process's item, in rank order, on every process."""
    if not dist.is_initialized():
        return [item]
    items: list[Any] = [None] * world_size()
    with meeting("an exchange of results"):
        dist.all_gather_object(items, item)
    return items


def highest(numbers: Sequence[int], device: torch.device) -> list[int]:
    """Each number's maximum over all processes, from one exchange."""
    if not dist.is_initialized():
        return list(numbers)
    with meeting("an exchange of flags"):
        return highest_of(torch.tensor(numbers, device=device)).tolist()


def highest_of(tensor: torch.Tensor) -> torch.Tensor:
    """The same in a tensor, within a meeting: on a GPU the processor does not wait for it."""
    if dist.is_initialized():
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return tensor


@contextmanager
def meeting(what: str) -> Iterator[None]:
    """All processes meet within; one that does not come is named after DIST_TIMEOUT.

    Raises:
        ExitRequest: the exchange has failed because another process is gone or has ended.
    """
    watch = _Here.watch
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
    """Tell the other processes that this one gets on: it is at `where` now."""
    if _Here.watch:
        _Here.watch.note(where)


def select_device(num_gpus: int, local_rank: int = 0, own: bool = False) -> torch.device:
    """The device of this process.

    Args:
        own: the launcher may have given each process a GPU of its own, the only one it sees.

    Raises:
        UserError: more GPUs are asked for than there are.
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
def joined(place: Place, device: torch.device, backend: str, timeout_s: float) -> Iterator[None]:
    """Meet the other processes, watch each other meanwhile, and part together.

    Args:
        backend: of torch.distributed.
        timeout_s: how long processes are waited for that do not arrive or get on.

    Raises:
        UserError: not all have met in time.
        ExitRequest: another process is gone, stuck, or has ended the run; its message names it.
    """
    limit = timedelta(seconds=timeout_s)
    try:
        if place.meeting not in _Here.stores:
            _Here.stores[place.meeting], *_ = next(
                rendezvous(place.meeting, place.rank, place.world_size, timeout=limit)
            )
        store = _Here.stores[place.meeting]
        session = agree_on_session(dist.PrefixStore("transm3e", store), place.rank, place.world_size, timeout_s)
    except (dist.DistError, RuntimeError, ValueError, TimeoutError) as error:
        raise UserError(
            f"rank {place.rank} of {place.world_size} has not met the others at {place.meeting}: {first_line(error)}; start "
            "all of them, and look whether the address can be reached from here and its port is free (DIST_TIMEOUT "
            f"{timeout_s:g} s)"
        ) from error
    own = dist.PrefixStore(f"transm3e/{session}", store)
    _Here.place = place
    connection = dist.PrefixStore(f"transm3e/{session}/watch", _connection(store, limit))
    watch = _Here.watch = Watch(connection, place.rank, place.world_size, stall_s=timeout_s)
    # The watch judges who is lost, and says so; NCCL's own guard would end the process before.
    os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0")
    try:
        dist.init_process_group(
            backend, store=own, rank=place.rank, world_size=place.world_size, timeout=BACKSTOP * limit
        )
        watch.start()
        yield
        watch.leave()
    except BaseException as error:
        end = _end_of(error)
        watch.leave_with(str(end), end.exit_status)
        _part(after_error=True)
        raise
    _part()


def _part(after_error: bool = False) -> None:
    _Here.place, _Here.watch = Place(), None
    # NCCL would wait for what the others never send.
    if dist.is_initialized() and not (after_error and dist.get_backend() == "nccl"):
        dist.destroy_process_group()


def _end_of(error: BaseException) -> ExitRequest:
    """How this process ends, and in which words the others hear of it."""
    if isinstance(error, ExitRequest):
        return error
    if isinstance(error, UserError):
        return ExitRequest(f"error: {error}", USER_MISTAKE)
    if isinstance(error, KeyboardInterrupt):
        return ExitRequest("interrupted", INTERRUPTED)
    return ExitRequest(f"{type(error).__name__}: {first_line(error)}", FAILED)


def _connection(store: Any, limit: timedelta) -> Any:
    """A store's second connection, where it is one of TCP: the watch must not wait behind torch's own use of it."""
    while isinstance(store, dist.PrefixStore):
        store = store.underlying_store
    if not isinstance(store, dist.TCPStore):
        return store
    return dist.TCPStore(store.host, store.port, is_master=False, wait_for_workers=False, timeout=limit)
