"""Processes that load items into memory shared with this one; one that dies or hangs costs its item, not the epoch.

Each process has a pipe of its own and no lock is shared, so a process that is killed at any moment leaves the others as
they are. Clips are written straight into the slots, so memory is as much as the slots take, however long it runs.
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
# Seconds between two looks of an idle process at whether the one that forked it still lives.
PARENT_EVERY_S = 2.0
# Seconds that a process has to end when asked to.
END_S = 5.0
# Deaths in a row, without one item loaded in between, that are not the files' fault.
MOST_DEATHS = 8
# Tasks that a process has at most: few enough for their pipe, however small. One that were full would wait for the
# process, and the process for its answers to be read.
MOST_TASKS = 64


class Items(Protocol):
    """What is loaded from: ClipDataset. It is sent to other processes, which import its class."""

    def load(self, key: Key, clips: Slot) -> Sample | FailedClip:
        """Item `key` into memory."""

    def failed(self, key: Key, reason: str) -> FailedClip:
        """What stands for an item that cost a process its life."""


@dataclass(frozen=True)
class Task:
    """An item to load: `ticket` names it, `slot` is where its clips go."""

    ticket: int
    key: Key
    slot: int


@dataclass
class Worker:
    """A process, and the tasks it has not answered, in the order it works on them.

    Questions and answers have a pipe each: what a process has answered can be read after its death, which a pipe for
    both directions forgets.
    """

    process: forking.Process
    questions: Connection
    answers: Connection
    tasks: deque[Task] = field(default_factory=deque)


@dataclass(frozen=True)
class SlotPlan:
    """Memory for `count` items of `samples` clips of each modality."""

    specs: Mapping[str, ClipSpec]
    samples: int
    count: int

    def files(self) -> list[int]:
        """Open files of shared memory, one per modality."""
        return [forking.shared_file(spec.nbytes(self.count * self.samples)) for spec in self.specs.values()]

    def slots(self, files: Sequence[int] | None = None) -> list[Slot]:
        """The memory, of this process or in those files."""
        clips, n = self.count * self.samples, self.samples
        places = dict(zip(self.specs, files or (), strict=bool(files)))
        memory = {name: spec.empty(clips, file=places.get(name)) for name, spec in self.specs.items()}
        return [{name: all_[i * n : (i + 1) * n] for name, all_ in memory.items()} for i in range(self.count)]


class Serial:
    """Loads in this process, when asked for results."""

    def __init__(self, items: Items, plan: SlotPlan) -> None:
        self._items, self.slots = items, plan.slots()
        self._tasks: deque[Task] = deque()

    def submit(self, task: Task) -> None:
        """Take a task."""
        self._tasks.append(task)

    def result(self) -> tuple[int, Sample | FailedClip]:
        """(ticket, what became of it) of some task; there must be one."""
        task = self._tasks.popleft()
        return task.ticket, self._items.load(task.key, self.slots[task.slot])

    def drain(self) -> None:
        """Forget all tasks."""
        self._tasks.clear()

    def close(self) -> None:
        """Nothing to end."""


class WorkerPool:
    """Loads in processes of its own.

    Args:
        items: what is loaded from.
        plan: of the memory that results go to.
        num_workers: processes, at least 1.
        seconds: what one item may take. A process that takes longer is killed, wherever it hangs.

    Raises:
        UserError: the items cannot be sent to another process, or there is no memory.
    """

    def __init__(self, items: Items, plan: SlotPlan, num_workers: int, seconds: float) -> None:
        self._items, self._seconds = items, seconds
        level = logging.getLogger(LOGGER).getEffectiveLevel()
        self._work = forking.pack(_work, items, plan, seconds, level)
        self._files = plan.files()
        self.slots = plan.slots(self._files)
        self._told: set[str] = set()
        self._workers = [self._start() for _ in range(num_workers)]
        self._waiting: deque[Task] = deque()  # that no process has yet
        self._suspects: set[Task] = set()  # tasks that a process died on once
        self._deaths = 0
        # Ends the processes with this object or with the program, whichever comes first.
        self.close = weakref.finalize(self, _end, self._workers, [self._work, *self._files])

    @property
    def pids(self) -> list[int]:
        """Numbers of the processes."""
        return [worker.process.pid for worker in self._workers]

    def submit(self, task: Task) -> None:
        """Take a task."""
        self._waiting.append(task)
        self._hand_out()

    def result(self) -> tuple[int, Sample | FailedClip]:
        """(ticket, what became of it) of some task; there must be one.

        Raises:
            UserError: as the items raise, or processes die again and again.
            RuntimeError: loading raised something else; the process's traceback is in the message.
        """
        while True:
            busy = [worker for worker in self._workers if worker.tasks]
            # A dead process's pipe is ready, too: it has come to its end.
            ready = wait([worker.answers for worker in busy])
            for worker in busy:
                answer = self._answer(worker) if worker.answers in ready else None
                if answer is not None:
                    return answer

    def drain(self) -> None:
        """Forget all tasks; returns when no process writes into a slot any more."""
        for worker in self._workers:
            if worker.tasks:
                self._replace(worker)
        self._waiting.clear()
        self._suspects.clear()

    def _hand_out(self) -> None:
        """Each waiting task to the process with the least to do, until all have enough."""
        while self._waiting:
            worker = min(self._workers, key=lambda worker: len(worker.tasks))
            if len(worker.tasks) >= MOST_TASKS:
                return
            task = self._waiting.popleft()
            worker.tasks.append(task)
            with suppress(OSError):  # it died: result() finds out
                worker.questions.send(astuple(task))

    def _answer(self, worker: Worker) -> tuple[int, Sample | FailedClip] | None:
        try:
            ticket, result, records = pickle.loads(worker.answers.recv_bytes())
        except (EOFError, OSError):
            return self._bury(worker)
        self._pass_on(records)
        self._deaths = 0
        assert worker.tasks.popleft().ticket == ticket, "answers come in order"
        self._hand_out()
        if isinstance(result, UserError):
            raise result
        if isinstance(result, str):
            raise RuntimeError(f"a data loading process failed:\n{result}")
        return ticket, result

    def _pass_on(self, records: Sequence[logging.LogRecord]) -> None:
        """Log what a process has to say, once if several say it."""
        for record in records:
            if record.getMessage() not in self._told:
                self._told.add(record.getMessage())
                logging.getLogger(record.name).handle(record)

    def _bury(self, worker: Worker) -> tuple[int, Sample | FailedClip] | None:
        """Start another process in a dead one's place; its first task is lost if that is what killed it."""
        worker.process.join()
        code = worker.process.exitcode or 0
        task = worker.tasks[0]
        if code == forking.FAILED:
            raise UserError(
                "data loading processes cannot load these items, for the reason above; they import what they load from, so "
                "its classes must stand in a module; or set DATA_LOADER.NUM_WORKERS 0"
            )
        # A scheduler that ends the whole group says nothing of the files, nor of the memory; and a file that hangs, as
        # many do on a network disk that stalls, costs itself only.
        ended, hung = code == -signal.SIGTERM, code == -signal.SIGALRM
        self._deaths += not (ended or hung)
        if self._deaths > MOST_DEATHS:
            raise UserError(
                f"{self._deaths} data loading processes in a row died ({_why(code)}), mostly for lack of memory; lower "
                "DATA_LOADER.NUM_WORKERS or the batch size, or look for the reason with DATA_LOADER.NUM_WORKERS 0"
            )
        # Anything may kill a process once (a scheduler, a lack of memory): the file is to blame the second time.
        lost = hung or (task in self._suspects and not ended)
        if not ended:
            self._suspects.add(task)
        self._waiting.extendleft(reversed(list(worker.tasks)[lost:]))
        self._replace(worker)
        self._hand_out()
        if not lost:
            return None
        reason = f"took longer than {self._seconds:g} s; raise DATA.DECODE_TIMEOUT or re-encode" if hung else _why(code)
        return task.ticket, self._items.failed(task.key, reason)

    def _replace(self, worker: Worker) -> None:
        _kill(worker)
        new = self._start()
        worker.process, worker.questions, worker.answers = new.process, new.questions, new.answers
        worker.tasks.clear()

    def _start(self) -> Worker:
        asked, questions = Pipe(duplex=False)
        answers, answered = Pipe(duplex=False)
        # The process will hold these ends alone, so its death is the end of its answers, and ours that of its questions.
        with asked, answered:
            process = forking.start(self._work, [asked.fileno(), answered.fileno(), *self._files])
        return Worker(process, questions, answers)


def _work(files: Sequence[int], items: Items, plan: SlotPlan, seconds: float, level: int) -> None:
    """What a loading process does until its parent says None or is no more."""
    asked, answered = Connection(files[0], writable=False), Connection(files[1], readable=False)
    slots = plan.slots(files[2:])
    # A scheduler's SIGTERM ends this process; if the training process still needs it, it starts another. Ctrl-C and
    # the like, which reach the whole group, do not: the training process decides when to stop.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # By default this signal kills, also in the middle of a decoder that never comes back.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    cv2.setNumThreads(0)  # processes are the parallelism; and OpenCV's threads do not survive a fork
    torch.set_num_threads(1)
    records, parent = _records(level), os.getppid()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            while not asked.poll(PARENT_EVERY_S) and os.getppid() == parent:
                pass
            asked_for = asked.recv() if os.getppid() == parent else None
            if asked_for is None:
                return
            task = Task(*asked_for)
            signal.setitimer(signal.ITIMER_REAL, seconds)
            result = _load(items, task, slots)
            signal.setitimer(signal.ITIMER_REAL, 0)
            # By value: a tensor that send() shares would have to be fetched from this process, which may be dead by then.
            answered.send_bytes(pickle.dumps((task.ticket, result, records)))
            records.clear()


def _records(level: int) -> list[logging.LogRecord]:
    """What this process logs from now on, for the one that has the log."""
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
    except Exception:  # it is raised anew where it can be seen
        return traceback.format_exc()


def _why(code: int) -> str:
    if code == -signal.SIGKILL:
        return "the loading process was killed twice on it, mostly for lack of memory"
    if code == forking.NOT_STARTED:
        return "the system would not start them, see above"
    if code < 0:
        return f"the decoder crashed twice ({signal.Signals(-code).name})"
    return f"the loading process ended twice (status {code})"


def _end(workers: Sequence[Worker], files: Sequence[int]) -> None:
    for worker in workers:
        with suppress(OSError):
            worker.questions.send(None)
    for worker in workers:
        # A process in the middle of an item, or with more to load, is not waited for.
        if not worker.tasks:
            worker.process.join(END_S)
        _kill(worker)
    for file in files:
        os.close(file)


def _kill(worker: Worker) -> None:
    worker.process.kill()
    worker.process.join()
    worker.questions.close()
    worker.answers.close()
