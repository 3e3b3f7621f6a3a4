"""Detection of lost processes: if a process of a run is gone, or does not arrive at a collective, all end and name it.

Each process writes its position (a heartbeat) to the rendezvous store, from a thread and over a connection of its own,
so that it is seen whatever its main thread waits for. Rank 0 reads the heartbeats of all: a process is lost if its
heartbeats stop (killed, stopped, its host or the network gone); a run is stuck if some processes wait for others longer
than allowed while those make no progress. The other ranks read only rank 0's heartbeat, which contains its verdict, and
detect the loss of rank 0 itself: two operations a second for each process, however many there are.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from transm3e.cli import LOST_PROCESS
from transm3e.errors import RESUMES, ExitRequest, first_line

logger = logging.getLogger(__name__)
RUNNING, DONE, LEFT, ENDED = "running", "done", "left", "ended"
# Seconds of silence after which a process is lost; DIST_TIMEOUT if that is less.
SILENT_S = 60.0
# Seconds that this process has to end by itself after another one has announced the end of the run.
GRACE_S = 5.0
BEAT_S = 1.0
FROM_CHECKPOINT = f"{RESUMES} from the last checkpoint"
# What happened, and the exit status.
Verdict = tuple[str, int]


@dataclass
class _Peer:
    """What is known of a process; `heard` and `moved`: times of its last heartbeat and of its last progress."""

    beat: dict[str, Any] = field(default_factory=dict)
    heard: float = field(default_factory=time.monotonic)
    moved: float = field(default_factory=time.monotonic)

    def hear(self, beat: dict[str, Any]) -> None:
        now = time.monotonic()
        if beat["beat"] != self.beat.get("beat"):
            self.heard = now
        if (beat["work"], beat["arrived"]) != (self.beat.get("work"), self.beat.get("arrived")):
            self.moved = now
        self.beat = beat

    @property
    def state(self) -> str:
        return self.beat.get("state", RUNNING)


class Watch:
    """Sends heartbeats of this process, and checks those of the others.

    Args:
        store: a connection that nothing else uses, with set and multi_get.
        rank, world_size: of this process.
        stall_s: how long to wait for others that make no progress.
        silent_s: time without a heartbeat after which a process is lost.
        die: ends the process at once with a status; replaced in tests.
    """

    def __init__(
        self,
        store: Any,
        rank: int,
        world_size: int,
        stall_s: float,
        silent_s: float = SILENT_S,
        die: Callable[[int], None] = os._exit,
    ) -> None:
        self.store, self.rank, self._die = store, rank, die
        self.stall_s, self.silent_s = stall_s, min(silent_s, stall_s)
        self.pause_s = min(BEAT_S, self.silent_s / 10)
        # The store may end with rank 0's process, so rank 0 leaves last.
        self.leads = rank == 0
        self.peers = {other: _Peer() for other in (range(world_size) if self.leads else (0,))}
        self.state, self.message, self.status = RUNNING, "", 0
        self.where, self._work, self._arrived = "its start", 0, 0
        self._waits: tuple[str, float] | None = None
        self._verdict_read: tuple[Verdict, float] | None = None
        self._contact, self._cut = time.monotonic(), ""
        self._checks, self._asks = True, False
        self._closed = threading.Event()
        self._beats = 0
        self._write()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._beat, self._check)]

    def start(self) -> None:
        """Start, once all processes have joined."""
        # So that host and process number of all are known, should one be lost in the first second.
        self._update()
        for thread in self._threads:
            thread.start()

    def note(self, where: str) -> None:
        """Record progress: this process is at `where` now."""
        self.where, self._work = where, self._work + 1

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Around the collective `what`: time in here counts as waiting for the others."""
        self._arrived += 1
        self._waits = (what, time.monotonic())
        try:
            yield
        finally:
            self._waits = None

    def explain(self, error: BaseException) -> ExitRequest | None:
        """Why a collective failed: the process that is gone or has ended; None if all are alive."""
        end = time.monotonic() + self.silent_s + 5 * self.pause_s
        self._checks, self._asks = False, True
        while time.monotonic() < end:
            if found := self._verdict(grace_s=0):
                return ExitRequest(f"{found[0]} ({first_line(error)}); {FROM_CHECKPOINT}", found[1])
            time.sleep(self.pause_s / 2)
        self._checks, self._asks = True, False
        return None

    def leave(self) -> None:
        """End together: wait until all are done, rank 0 until the others have left."""
        self.state = DONE
        self._await(lambda peer: peer.beat.get("all_done", peer.state != RUNNING))
        if found := self._end_announced():
            raise ExitRequest(*found)
        self._set_final(LEFT)

    def leave_with(self, message: str, status: int) -> None:
        """End the run of all processes, and tell them why."""
        self.message, self.status = message, status
        self._set_final(ENDED)

    def _set_final(self, state: str) -> None:
        self._checks, self.state = False, state
        self._await_beat()
        if self.leads:
            end = time.monotonic() + GRACE_S + 10 * self.pause_s
            self._await(lambda peer: peer.state in (LEFT, ENDED) or self._is_silent(peer), end)
        self._closed.set()

    def _await(self, settled: Callable[[_Peer], bool], end: float = float("inf")) -> None:
        while time.monotonic() < end and not all(settled(peer) for peer in self.peers.values()):
            time.sleep(self.pause_s / 20)

    def _is_silent(self, peer: _Peer) -> bool:
        return time.monotonic() - peer.heard > 5 * self.pause_s

    def _await_beat(self) -> None:
        """Wait until the others can read the present state, if they can be reached at all."""
        target, end = self._beats + 2, time.monotonic() + 10 * self.pause_s
        while self._beats < target and time.monotonic() < end and not self._cut:
            time.sleep(self.pause_s / 10)

    # -------------------------------------------------------------- the thread that sends heartbeats

    def _beat(self) -> None:
        # More often at the end, which all wait for.
        while not self._closed.wait(self.pause_s if self.state == RUNNING else self.pause_s / 20):
            try:
                self._update()
            except (RuntimeError, OSError, ValueError) as error:
                # Whatever the error, this connection is broken.
                self._cut = f" ({first_line(error)})"
                return

    def _update(self) -> None:
        """Read, then write, so that rank 0 passes on at once what it has read."""
        beats = self.store.multi_get([f"beat/{other}" for other in self.peers])
        for peer, text in zip(self.peers.values(), beats, strict=True):
            peer.hear(json.loads(text))
        if not self._verdict_read and (found := self._end_announced()):
            self._verdict_read = (found, time.monotonic())
        self._write()
        self._contact = time.monotonic()

    def _end_announced(self) -> Verdict | None:
        """Why another process ends the run, or why rank 0 says that one does."""
        for other, peer in self.peers.items():
            if not self.leads and peer.beat["found"]:
                message, status = peer.beat["found"]
                return message, status
            if peer.state == ENDED and other != self.rank:
                return f"{self._name(other)} ended the run: {peer.beat['message']}", peer.beat["status"]
        return None

    def _write(self) -> None:
        self.store.set(f"beat/{self.rank}", json.dumps(self._own()))
        self._beats += 1

    def _own(self) -> dict[str, Any]:
        what, since = self._waits or (self.where, time.monotonic())
        own = {
            **{"beat": self._beats, "work": self._work, "arrived": self._arrived, "asks": self._asks},
            **{"host": socket.gethostname(), "pid": os.getpid(), "where": what, "waited": time.monotonic() - since},
            **{"state": self.state, "message": self.message, "status": self.status},
        }
        if self.leads:
            done = self.state != RUNNING and all(peer.state != RUNNING for peer in self.peers.values())
            own |= {"all_done": done, "found": self._verdict_read and self._verdict_read[0]}
        return own

    # -------------------------------------------------------------- the thread that checks the others

    def _check(self) -> None:
        last = time.monotonic()
        while not self._closed.wait(self.pause_s):
            now = time.monotonic()
            if now - last > max(5.0, 5 * self.pause_s):
                # This process itself was stopped or starved and could not read the others' heartbeats.
                self._extend_deadlines(now - last)
            last = now
            found = self._verdict(GRACE_S) if self._checks else None
            if found:
                self._end(*found)

    def _extend_deadlines(self, seconds: float) -> None:
        self._contact += seconds
        if self._waits:
            self._waits = (self._waits[0], self._waits[1] + seconds)
        for peer in self.peers.values():
            peer.heard, peer.moved = peer.heard + seconds, peer.moved + seconds

    def _verdict(self, grace_s: float) -> Verdict | None:
        """Why this process has to end, if it has to."""
        now = time.monotonic()
        # Whoever has ended the run may have taken the store with it.
        if self._verdict_read and (self._cut or now - self._verdict_read[1] >= grace_s):
            return self._verdict_read[0]
        # After a failed collective a shorter silence suffices.
        asked = self._asks or (self.leads and any(peer.beat.get("asks") for peer in self.peers.values()))
        silent_s = min(self.silent_s, 5 * self.pause_s) if asked else self.silent_s
        if self._cut or now - self._contact > silent_s:
            return (
                f"no contact for {now - self._contact:.0f} s{self._cut} with the rendezvous store, held by "
                f"{self._name(0)} or its torchrun: it, its host or the network is gone",
                LOST_PROCESS,
            )
        for other, peer in self.peers.items():
            if peer.state == RUNNING and now - peer.heard > silent_s:
                return (
                    f"{self._name(other)} has not been heard of for {now - peer.heard:.0f} s, last at "
                    f"{self._position(other)}: it was killed or stopped, or its host or the network is gone",
                    LOST_PROCESS,
                )
        return self._stall(now) if self.leads else None

    def _stall(self, now: float) -> Verdict | None:
        waiting = max((peer.beat for peer in self.peers.values()), key=lambda beat: beat.get("waited", 0.0))
        if waiting.get("waited", 0.0) <= self.stall_s:
            return None
        behind = {other: peer for other, peer in self.peers.items() if peer.beat["arrived"] < waiting["arrived"]}
        if any(now - peer.moved <= self.stall_s for peer in behind.values()):
            return None  # slow, but making progress
        who = "; ".join(f"{self._name(other)}, at {self._position(other)}" for other in behind)
        who = who or "no missing process: the network or a device is stuck"
        return f"waited {waiting['waited']:.0f} s (DIST_TIMEOUT) in {waiting['where']} for {who}", LOST_PROCESS

    def _name(self, rank: int) -> str:
        beat = self.peers[rank].beat
        return f"rank {rank} (process {beat['pid']} on {beat['host']})" if beat else f"rank {rank}"

    def _position(self, rank: int) -> str:
        return self.peers[rank].beat.get("where", "its start")

    def _end(self, message: str, status: int) -> None:
        self._checks = False
        logger.error("%s; %s\nwhere this process is:\n%s", message, FROM_CHECKPOINT, stacks())
        self.message, self.status, self.state = message, status, ENDED
        self._await_beat()
        if self.leads:
            time.sleep(5 * self.pause_s)
        sys.stderr.flush()
        self._die(status)


def stacks() -> str:
    """Stack traces of all other threads of this process."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return "\n".join(
        f"thread {names.get(number, number)}:\n{''.join(traceback.format_stack(frame))}"
        for number, frame in sys._current_frames().items()
        if number != threading.get_ident()
    )
