"""A name that the processes of one start agree on, so that none reads entries that earlier ones left in the store.

Processes that a launcher restarts use the store of those that ended, and not all launchers number the restarts alike. So
each process writes a random word; rank 0 makes a session of the words that it reads, a new one whenever a word changes;
a session is valid once every process has found its own word in it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

POLL_S = 0.02


def agree_on_session(store: Any, rank: int, world_size: int, limit_s: float) -> str:
    """The name of this session, the same on all processes and never used before.

    Args:
        store: set, get, check; all processes have the same.
        limit_s: how long to wait for the others.

    Raises:
        TimeoutError: names the ranks that did not arrive.
    """
    own, end = uuid4().hex, time.monotonic() + limit_s
    store.set(f"hello/{rank}", own)
    session: dict[str, Any] = {}
    while time.monotonic() < end:
        if rank == 0:
            session = _lead(store, session, world_size)
            name = session.get("name", "")
            if name and _read(store, [f"found/{other}" for other in range(1, world_size)]) == [name] * (world_size - 1):
                store.set("begin", name)
                return name
        else:
            session = json.loads((_read(store, ["session"]) or ["{}"])[0])
            if session and session["words"][rank : rank + 1] == [own]:
                store.set(f"found/{rank}", session["name"])
                if _read(store, ["begin"]) == [session["name"]]:
                    return str(session["name"])
        time.sleep(POLL_S)
    missing = [str(other) for other in range(world_size) if not store.check([f"hello/{other}"])]
    raise TimeoutError(
        f"rank {', '.join(missing)} did not arrive" if missing else "not all ranks confirmed the session"
    )


def _lead(store: Any, session: dict[str, Any], world_size: int) -> dict[str, Any]:
    """The session of the words that are in the store now: `session` itself if they have not changed."""
    words = _read(store, [f"hello/{other}" for other in range(world_size)])
    if words is None or words == session.get("words"):
        return session
    session = {"name": uuid4().hex, "words": words}
    store.set("session", json.dumps(session))
    return session


def _read(store: Any, keys: Sequence[str]) -> list[str] | None:
    """The values of the keys; None if one is missing."""
    if keys and not store.check(list(keys)):
        return None
    return [store.get(key).decode() for key in keys]
