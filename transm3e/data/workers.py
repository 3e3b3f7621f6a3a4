"""Data-loading workers: processes that load items into shared memory. One that dies or hangs costs its item, not the epoch.

Each worker has its own pipes and no lock is shared, so a worker killed at any moment does not affect the others. Clips are
written directly into the slots, so memory use stays at the size of the slots.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import traceback
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, field
from logging.handlers import QueueHandler
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Protocol

import cv2
import torch
from torch import Tensor

from transm3e.data import forking
from transm3e.data.types import ClipSpec, FailedClip, Sample
from transm3e.errors import UserError

Key = tuple[int, int]
Slot = Mapping[str, Tensor]
LOGGER = "transm3e"
# Seconds between an idle worker's checks that its parent is alive.
PARENT_CHECK_S = 2.0
# Seconds that a worker has to end when asked to.
STOP_TIMEOUT_S = 5.0
# More deaths in a row than this, without one item loaded in between, are not the files' fault.
MAX_DEATHS = 8
# Tasks of a worker at most, few enough to fit into any pipe: with a full pipe, this process would wait for the worker, and
# the worker for its results to be read.
MAX_TASKS = 64


class Items(Protocol):
    """A ClipDataset, or another class with its methods. It is sent to workers, which import its class."""

    def load(self, key: Key, clips: Slot) -> Sample | FailedClip:
        """Load item `key` into memory."""

    def failed(self, key: Key, reason: str) -> FailedClip:
        """The record of an item on which a worker died."""


@dataclass(frozen=True)
class Task:
    """An item to load: `ticket` names it, `slot` is where its clips go."""

    ticket: int
    key: Key
    slot: int


@dataclass
class Worker:
    """A process and its unfinished tasks, in the order in which it works on them.

    Requests and results have a pipe each: results can then still be read after the process died, which a two-way pipe
    does not allow.
    """

    process: forking.Process
    requests: Connection
    results: Connection
    tasks: deque[Task] = field(default_factory=deque)


@dataclass(frozen=True)
class SlotPlan:
    """Memory for `count` items of `samples` clips of each modality."""

    specs: Mapping[str, ClipSpec]
    samples: int
    count: int

    def files(self) -> list[int]:
        """File descriptors of shared memory, one per modality."""
        return [forking.shared_file(spec.nbytes(self.count * self.samples)) for spec in self.specs.values()]

    def slots(self, files: Sequence[int] | None = None) -> list[Slot]:
        """The slots, in memory of this process or in these files."""
        clips, n = self.count * self.samples, self.samples
        file_of = dict(zip(self.specs, files or (), strict=bool(files)))
        memory = {name: spec.empty(clips, file=file_of.get(name)) for name, spec in self.specs.items()}
        return [{name: all_[i * n : (i + 1) * n] for name, all_ in memory.items()} for i in range(self.count)]


class Serial:
    """Loads in this process, when a result is requested."""

    def __init__(self, items: Items, plan: SlotPlan) -> None:
        self._items, self.slots = items, plan.slots()
        self._tasks: deque[Task] = deque()

    def submit(self, task: Task) -> None:
        """Queue a task."""
        self._tasks.append(task)

    def result(self) -> tuple[int, Sample | FailedClip]:
        """(ticket, result) of some task; there must be one."""
        task = self._tasks.popleft()
        return task.ticket, self._items.load(task.key, self.slots[task.slot])

    def drain(self) -> None:
        """Discard all tasks."""
        self._tasks.clear()

    def close(self) -> None:
        """Nothing to stop."""


class WorkerPool:
    """Loads in worker processes.

    Args:
        items: the dataset.
        plan: the memory for the results.
        num_workers: processes, at least 1.
        seconds: time limit of one item. A worker that takes longer is killed, wherever it hangs.

    Raises:
        UserError: the items cannot be sent to another process, or shared memory cannot be allocated.
    """

    def __init__(self, items: Items, plan: SlotPlan, num_workers: int, seconds: float) -> None:
        self._items, self._seconds = items, seconds
        level = logging.getLogger(LOGGER).getEffectiveLevel()
        self._packed = forking.pack(_worker_main, items, plan, seconds, level)
        self._files = plan.files()
        self.slots = plan.slots(self._files)
        self._logged: set[str] = set()
        self._workers = [self._start() for _ in range(num_workers)]
        self._waiting: deque[Task] = deque()  # not yet given to a worker
        self._suspects: set[Task] = set()  # tasks on which a worker died once
        self._deaths = 0
        # Stops the workers when this object or the program ends, whichever comes first.
        self.close = weakref.finalize(self, _stop_workers, self._workers, [self._packed, *self._files])

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.process.pid for worker in self._workers]

    def submit(self, task: Task) -> None:
        """Queue a task."""
        self._waiting.append(task)
        self._hand_out()

    def result(self) -> tuple[int, Sample | FailedClip]:
        """(ticket, result) of some task; there must be one.

        Raises:
            UserError: raised by the items, or workers die repeatedly.
            RuntimeError: loading raised another exception; the worker's traceback is in the message.
        """
        while True:
            busy = [worker for worker in self._workers if worker.tasks]
            # The pipe of a dead worker is ready, too: it is at its end.
            ready = wait([worker.results for worker in busy])
            for worker in busy:
                answer = self._receive(worker) if worker.results in ready else None
                if answer is not None:
                    return answer

    def drain(self) -> None:
        """Discard all tasks; returns when no worker writes into a slot any more."""
        for worker in self._workers:
            if worker.tasks:
                self._replace(worker)
        self._waiting.clear()
        self._suspects.clear()

    def _hand_out(self) -> None:
        """Give each waiting task to the worker with the fewest, until all have enough."""
        while self._waiting:
            worker = min(self._workers, key=lambda worker: len(worker.tasks))
            if len(worker.tasks) >= MAX_TASKS:
                return
            task = self._waiting.popleft()
            worker.tasks.append(task)
            with suppress(OSError):  # it died: result() will notice
                worker.requests.send(astuple(task))

    def _receive(self, worker: Worker) -> tuple[int, Sample | FailedClip] | None:
        try:
            ticket, result, records = pickle.loads(worker.results.recv_bytes())
        except (EOFError, OSError):
            return self._handle_death(worker)
        self._log_records(records)
        self._deaths = 0
        assert worker.tasks.popleft().ticket == ticket, "results come in order"
        self._hand_out()
        if isinstance(result, UserError):
            raise result
        if isinstance(result, str):
            raise RuntimeError(f"a data-loading worker failed:\n{result}")
        return ticket, result

    def _log_records(self, records: Sequence[logging.LogRecord]) -> None:
        """Log a worker's records; the same message of several workers once."""
        for record in records:
            if record.getMessage() not in self._logged:
                self._logged.add(record.getMessage())
                logging.getLogger(record.name).handle(record)

    def _handle_death(self, worker: Worker) -> tuple[int, Sample | FailedClip] | None:
        """Replace a dead worker; its first task fails if that is what killed it."""
        worker.process.join()
        code = worker.process.exitcode or 0
        task = worker.tasks[0]
        if code == forking.FAILED:
            raise UserError(
                "data-loading workers cannot load these items, for the reason above; they import the dataset's classes, which "
                "must be defined in a module; or set DATA_LOADER.NUM_WORKERS 0"
            )
        # A scheduler's SIGTERM to the whole group is neither the files' nor the memory's fault; and a file that hangs, as
        # many do on a stalled network disk, fails alone.
        ended, hung = code == -signal.SIGTERM, code == -signal.SIGALRM
        self._deaths += not (ended or hung)
        if self._deaths > MAX_DEATHS:
            raise UserError(
                f"{self._deaths} data-loading workers in a row died ({_death_reason(code)}), usually out of memory; lower "
                "DATA_LOADER.NUM_WORKERS or the batch size, or find the reason with DATA_LOADER.NUM_WORKERS 0"
            )
        # Anything may kill a worker once (a scheduler, running out of memory): the file is to blame only the second time.
        lost = hung or (task in self._suspects and not ended)
        if not ended:
            self._suspects.add(task)
        self._waiting.extendleft(reversed(list(worker.tasks)[lost:]))
        self._replace(worker)
        self._hand_out()
        if not lost:
            return None
        reason = (
            f"took longer than {self._seconds:g} s; raise DATA.DECODE_TIMEOUT or re-encode"
            if hung
            else _death_reason(code)
        )
        return task.ticket, self._items.failed(task.key, reason)

    def _replace(self, worker: Worker) -> None:
        _kill(worker)
        new = self._start()
        worker.process, worker.requests, worker.results = new.process, new.requests, new.results
        worker.tasks.clear()

    def _start(self) -> Worker:
        asked, requests = Pipe(duplex=False)
        results, answered = Pipe(duplex=False)
        # The worker alone holds these ends: when it dies its results end, and when this process dies its requests end.
        with asked, answered:
            process = forking.start(self._packed, [asked.fileno(), answered.fileno(), *self._files])
        return Worker(process, requests, results)


def _worker_main(files: Sequence[int], items: Items, plan: SlotPlan, seconds: float, level: int) -> None:
    """A worker's main loop, until its parent sends None or has died."""
    asked, answered = Connection(files[0], writable=False), Connection(files[1], readable=False)
    slots = plan.slots(files[2:])
    # A scheduler's SIGTERM ends this worker; if the training process still needs it, it starts another. Ctrl-C and other
    # signals to the whole group do not: the training process decides when to stop.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # By default this signal kills, even inside a decoder that never returns.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    cv2.setNumThreads(0)  # workers already run in parallel, and OpenCV's threads do not survive a fork
    torch.set_num_threads(1)
    records, parent = _records(level), os.getppid()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            while not asked.poll(PARENT_CHECK_S) and os.getppid() == parent:
                pass
            asked_for = asked.recv() if os.getppid() == parent else None
            if asked_for is None:
                return
            task = Task(*asked_for)
            signal.setitimer(signal.ITIMER_REAL, seconds)
            result = _load(items, task, slots)
            signal.setitimer(signal.ITIMER_REAL, 0)
            # By value: a tensor shared by send() would have to be fetched from this worker, which may be dead by then.
            answered.send_bytes(pickle.dumps((task.ticket, result, records)))
            records.clear()


def _records(level: int) -> list[logging.LogRecord]:
    """The list that collects what this worker logs from now on; the training process logs it."""
    records: list[logging.LogRecord] = []

    class Kept(QueueHandler):
        def enqueue(self, record: logging.LogRecord) -> None:
            records.append(record)

    logger = logging.getLogger(LOGGER)
    logger.addHandler(Kept(records))  # type: ignore[arg-type]
    logger.setLevel(level)
    logger.propagate = False
    return records


def _load(items: Items, task: Task, slots: Sequence[Slot]) -> Sample | FailedClip | UserError | str:
    try:
        return items.load(task.key, slots[task.slot])
    except UserError as error:
        return UserError(str(error))
    except Exception:  # raised again in the training process
        return traceback.format_exc()


def _death_reason(code: int) -> str:
    if code == -signal.SIGKILL:
        return "the worker was killed twice on it, usually out of memory"
    if code == forking.NOT_STARTED:
        return "the system refused to start them, see above"
    if code < 0:
        return f"the decoder crashed twice ({signal.Signals(-code).name})"
    return f"the worker exited twice (status {code})"


def _stop_workers(workers: Sequence[Worker], files: Sequence[int]) -> None:
    for worker in workers:
        with suppress(OSError):
            worker.requests.send(None)
    for worker in workers:
        # Workers that still have items to load are killed without waiting.
        if not worker.tasks:
            worker.process.join(STOP_TIMEOUT_S)
        _kill(worker)
    for file in files:
        os.close(file)


def _kill(worker: Worker) -> None:
    worker.process.kill()
    worker.process.join()
    worker.requests.close()
    worker.results.close()
