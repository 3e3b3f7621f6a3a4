"""Processes of a run that look after each other: one that is gone, or does not arrive, ends all and is named.

Each process tells where it stands (a beat) through the store they met at, over a connection of its own, so that it is
heard of whatever its main thread waits for. Rank 0 reads the beats of all and judges: a process is lost if its beats
stay away (killed, stopped, its host or the network gone), and a run is stuck if some wait for the others longer than
allowed while those get nowhere. The others read rank 0's beat, which tells what it has found, and judge rank 0 itself by
it: two operations a second for each, however many there are.
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
# Seconds that this process has to end by itself after another one has said that it ends the run.
GRACE_S = 5.0
BEAT_S = 1.0
FROM_CHECKPOINT = f"{RESUMES} from the last checkpoint"
# What happened, and the exit status.
Verdict = tuple[str, int]


@dataclass
class _Peer:
    """What is known of a process; `heard` and `moved` are when a beat came and when it had got further."""

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
    """Beats of this process, and judgement of the others'.

    Args:
        store: a connection that nothing else uses: set, multi_get.
        rank, world_size: this process among all.
        stall_s: how long the others may be waited for while they get nowhere.
        silent_s: how long another one may be silent.
        die: ends the process at once with a status; another one in tests.
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
        # The connections of the others may end with rank 0's process, so it leaves last.
        self.leads = rank == 0
        self.peers = {other: _Peer() for other in (range(world_size) if self.leads else (0,))}
        self.state, self.message, self.status = RUNNING, "", 0
        self.where, self._work, self._arrived = "its start", 0, 0
        self._waits: tuple[str, float] | None = None
        self._told: tuple[Verdict, float] | None = None
        self._contact, self._cut = time.monotonic(), ""
        self._judges, self._asks = True, False
        self._closed = threading.Event()
        self._beats = 0
        self._tell()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._beat, self._judge)]

    def start(self) -> None:
        """Begin, once all processes have met."""
        # So all are known by host and number, should one be lost in the first second.
        self._exchange()
        for thread in self._threads:
            thread.start()

    def note(self, where: str) -> None:
        """This process gets on: it is at `where` now."""
        self.where, self._work = where, self._work + 1

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """All processes meet in `what`; time in here is time of waiting for the others."""
        self._arrived += 1
        self._waits = (what, time.monotonic())
        try:
            yield
        finally:
            self._waits = None

    def explain(self, error: BaseException) -> ExitRequest | None:
        """Why a collective operation failed: the process that is gone or has ended; None if all are well."""
        end = time.monotonic() + self.silent_s + 5 * self.pause_s
        self._judges, self._asks = False, True
        while time.monotonic() < end:
            if found := self._verdict(grace_s=0):
                return ExitRequest(f"{found[0]} ({first_line(error)}); {FROM_CHECKPOINT}", found[1])
            time.sleep(self.pause_s / 2)
        self._judges, self._asks = True, False
        return None

    def leave(self) -> None:
        """End together: wait until all are done, rank 0 until the others have left."""
        self.state = DONE
        self._await(lambda peer: peer.beat.get("all_done", peer.state != RUNNING))
        if found := self._heard_end():
            raise ExitRequest(*found)
        self._part(LEFT)

    def leave_with(self, message: str, status: int) -> None:
        """End the run of all: they learn why."""
        self.message, self.status = message, status
        self._part(ENDED)

    def _part(self, state: str) -> None:
        self._judges, self.state = False, state
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
        """Until the others can know the present state, if they can be reached at all."""
        target, end = self._beats + 2, time.monotonic() + 10 * self.pause_s
        while self._beats < target and time.monotonic() < end and not self._cut:
            time.sleep(self.pause_s / 10)

    # -------------------------------------------------------------- the thread that beats

    def _beat(self) -> None:
        # In haste at the end, which all wait for.
        while not self._closed.wait(self.pause_s if self.state == RUNNING else self.pause_s / 20):
            try:
                self._exchange()
            except (RuntimeError, OSError, ValueError) as error:
                # Whatever it was, this connection is done for.
                self._cut = f" ({first_line(error)})"
                return

    def _exchange(self) -> None:
        """Hear, then tell, so that rank 0 passes on at once what it has heard."""
        beats = self.store.multi_get([f"beat/{other}" for other in self.peers])
        for peer, text in zip(self.peers.values(), beats, strict=True):
            peer.hear(json.loads(text))
        if not self._told and (found := self._heard_end()):
            self._told = (found, time.monotonic())
        self._tell()
        self._contact = time.monotonic()

    def _heard_end(self) -> Verdict | None:
        """Why another process ends the run, or why rank 0 says that one does."""
        for other, peer in self.peers.items():
            if not self.leads and peer.beat["found"]:
                message, status = peer.beat["found"]
                return message, status
            if peer.state == ENDED and other != self.rank:
                return f"{self._name(other)} ended the run: {peer.beat['message']}", peer.beat["status"]
        return None

    def _tell(self) -> None:
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
            own |= {"all_done": done, "found": self._told and self._told[0]}
        return own

    # -------------------------------------------------------------- the thread that judges

    def _judge(self) -> None:
        last = time.monotonic()
        while not self._closed.wait(self.pause_s):
            now = time.monotonic()
            if now - last > max(5.0, 5 * self.pause_s):
                # This process itself was stopped or starved; the others could not be heard meanwhile.
                self._forgive(now - last)
            last = now
            found = self._verdict(GRACE_S) if self._judges else None
            if found:
                self._end(*found)

    def _forgive(self, seconds: float) -> None:
        self._contact += seconds
        if self._waits:
            self._waits = (self._waits[0], self._waits[1] + seconds)
        for peer in self.peers.values():
            peer.heard, peer.moved = peer.heard + seconds, peer.moved + seconds

    def _verdict(self, grace_s: float) -> Verdict | None:
        """Why this process has to end, if it has to."""
        now = time.monotonic()
        if self._told and now - self._told[1] >= grace_s:
            return self._told[0]
        # Where a collective has failed already, silence is explained sooner.
        asked = self._asks or (self.leads and any(peer.beat.get("asks") for peer in self.peers.values()))
        silent_s = min(self.silent_s, 5 * self.pause_s) if asked else self.silent_s
        if self._cut or now - self._contact > silent_s:
            return (
                f"no contact for {now - self._contact:.0f} s{self._cut} with the store that all met at, held by "
                f"{self._name(0)} or its torchrun: it, its host or the network is gone",
                LOST_PROCESS,
            )
        for other, peer in self.peers.items():
            if peer.state == RUNNING and now - peer.heard > silent_s:
                return (
                    f"{self._name(other)} has not been heard of for {now - peer.heard:.0f} s, last at "
                    f"{self._place(other)}: it was killed or stopped, or its host or the network is gone",
                    LOST_PROCESS,
                )
        return self._stall(now) if self.leads else None

    def _stall(self, now: float) -> Verdict | None:
        waiting = max((peer.beat for peer in self.peers.values()), key=lambda beat: beat.get("waited", 0.0))
        if waiting.get("waited", 0.0) <= self.stall_s:
            return None
        behind = {other: peer for other, peer in self.peers.items() if peer.beat["arrived"] < waiting["arrived"]}
        if any(now - peer.moved <= self.stall_s for peer in behind.values()):
            return None  # slow, but it gets on
        who = "; ".join(f"{self._name(other)}, at {self._place(other)}" for other in behind)
        who = who or "nobody that is missing: the network or a device is stuck"
        return f"waited {waiting['waited']:.0f} s (DIST_TIMEOUT) in {waiting['where']} for {who}", LOST_PROCESS

    def _name(self, rank: int) -> str:
        beat = self.peers[rank].beat
        return f"rank {rank} (process {beat['pid']} on {beat['host']})" if beat else f"rank {rank}"

    def _place(self, rank: int) -> str:
        return self.peers[rank].beat.get("where", "its start")

    def _end(self, message: str, status: int) -> None:
        self._judges = False
        logger.error("%s; %s\nwhere this process is:\n%s", message, FROM_CHECKPOINT, stacks())
        self.message, self.status, self.state = message, status, ENDED
        self._await_beat()
        if self.leads:
            time.sleep(5 * self.pause_s)
        sys.stderr.flush()
        self._die(status)


def stacks() -> str:
    """Where every thread of this process is."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return "\n".join(
        f"thread {names.get(number, number)}:\n{''.join(traceback.format_stack(frame))}"
        for number, frame in sys._current_frames().items()
        if number != threading.get_ident()
    )
