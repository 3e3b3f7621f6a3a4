"""Processes that load items into memory shared with this one; one that dies or hangs costs its item, not the epoch.

Each process has a pipe of its own and no lock is shared, so a process that is killed at any moment leaves the others as
they are. Clips are written straight into the slots, so memory is as much as the slots take, however long it runs.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import traceback
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Protocol

import cv2
import torch
from torch import Tensor

from transm3e.data.types import ClipSpec, FailedClip, Sample
from transm3e.errors import UserError

Key = tuple[int, int]
Slot = Mapping[str, Tensor]
# Seconds between two looks of an idle process at whether its parent still lives.
PARENT_EVERY_S = 2.0
# Seconds that a process has to end when asked to.
END_S = 5.0
# Deaths in a row, without one item loaded in between, that are not the files' fault.
MOST_DEATHS = 8
# Tasks that a process has at most: few enough for their pipe, however small. One that were full would wait for the
# process, and the process for its answers to be read.
MOST_TASKS = 64


class Items(Protocol):
    """What is loaded from: ClipDataset."""

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

    process: multiprocessing.process.BaseProcess
    questions: Connection
    answers: Connection
    tasks: deque[Task] = field(default_factory=deque)


def make_slots(specs: Mapping[str, ClipSpec], samples: int, count: int, shared: bool) -> list[Slot]:
    """Memory for `count` items of `samples` clips each.

    Args:
        shared: with processes forked from this one: anonymous memory, which a small /dev/shm does not limit.
    """
    memory = {name: spec.empty(count * samples, shared=shared) for name, spec in specs.items()}
    return [{name: clips[i * samples : (i + 1) * samples] for name, clips in memory.items()} for i in range(count)]


class Serial:
    """Loads in this process, when asked for results."""

    def __init__(self, items: Items, slots: Sequence[Slot]) -> None:
        self._items, self._slots = items, slots
        self._tasks: deque[Task] = deque()

    def submit(self, task: Task) -> None:
        """Take a task."""
        self._tasks.append(task)

    def result(self) -> tuple[int, Sample | FailedClip]:
        """(ticket, what became of it) of some task; there must be one."""
        task = self._tasks.popleft()
        return task.ticket, self._items.load(task.key, self._slots[task.slot])

    def drain(self) -> None:
        """Forget all tasks."""
        self._tasks.clear()

    def close(self) -> None:
        """Nothing to end."""


class WorkerPool:
    """Loads in processes of its own.

    Args:
        items: what is loaded from.
        slots: memory that results go to, of shared_slots.
        num_workers: processes, at least 1.
        seconds: what one item may take. A process that takes longer is killed, wherever it hangs.
    """

    def __init__(self, items: Items, slots: Sequence[Slot], num_workers: int, seconds: float) -> None:
        self._items, self._slots, self._seconds = items, slots, seconds
        self._context = multiprocessing.get_context("fork")
        self._workers = [self._start() for _ in range(num_workers)]
        self._waiting: deque[Task] = deque()  # that no process has yet
        self._suspects: set[Task] = set()  # tasks that a process died on once
        self._deaths = 0
        # Ends the processes with this object or with the program, whichever comes first.
        self.close = weakref.finalize(self, _end, self._workers)

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
            ticket, result = pickle.loads(worker.answers.recv_bytes())
        except (EOFError, OSError):
            return self._bury(worker)
        self._deaths = 0
        assert worker.tasks.popleft().ticket == ticket, "answers come in order"
        self._hand_out()
        if isinstance(result, UserError):
            raise result
        if isinstance(result, str):
            raise RuntimeError(f"a data loading process failed:\n{result}")
        return ticket, result

    def _bury(self, worker: Worker) -> tuple[int, Sample | FailedClip] | None:
        """Start another process in a dead one's place; its first task is lost if that is what killed it."""
        worker.process.join()
        code = worker.process.exitcode or 0
        task = worker.tasks[0]
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
        asked, questions = self._context.Pipe(duplex=False)
        answers, answered = self._context.Pipe(duplex=False)
        ends = (asked, answered, questions, answers)
        arguments = (ends, self._items, self._slots, self._seconds, os.getpid())
        process = self._context.Process(target=_work, args=arguments, daemon=True)
        process.start()
        # The process now holds these ends alone, so its death is the end of its answers.
        asked.close()
        answered.close()
        return Worker(process, questions, answers)


def _work(
    ends: tuple[Connection, Connection, Connection, Connection],
    items: Items,
    slots: Sequence[Slot],
    seconds: float,
    parent: int,
) -> None:
    """What a loading process does until its parent says None or is no more."""
    asked, answered, *parents = ends
    for end in parents:
        end.close()
    # Ctrl-C reaches the whole group, but the training process decides when to stop. A scheduler's SIGTERM ends this
    # process; if the training process still needs it, it starts another.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # By default this signal kills, also in the middle of a decoder that never comes back.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    cv2.setNumThreads(0)  # processes are the parallelism; and OpenCV's threads do not survive a fork
    torch.set_num_threads(1)
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
            answered.send_bytes(pickle.dumps((task.ticket, result)))


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
    if code < 0:
        return f"the decoder crashed twice ({signal.Signals(-code).name})"
    return f"the loading process ended twice (status {code})"


def _end(workers: Sequence[Worker]) -> None:
    for worker in workers:
        with suppress(OSError):
            worker.questions.send(None)
    for worker in workers:
        # A process in the middle of an item, or with more to load, is not waited for.
        if not worker.tasks:
            worker.process.join(END_S)
        _kill(worker)


def _kill(worker: Worker) -> None:
    worker.process.kill()
    worker.process.join()
    worker.questions.close()
    worker.answers.close()
