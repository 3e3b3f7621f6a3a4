"""A name that the processes of one meeting agree on, so that none takes for news what earlier ones left in the store.

Processes that a launcher has started again meet at the store of the dead, and not all launchers count alike how often that
was. So each says hello with a word of its own; the first process makes a session of the words that it reads, anew
whenever one changes; a session counts when everybody has found his own word in it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

POLL_S = 0.02


def agree_on_session(store: Any, rank: int, world_size: int, limit_s: float) -> str:
    """The name of this meeting, the same on all processes and never used before.

    Args:
        store: set, get, check; all processes have the same.
        limit_s: how long the others are waited for.

    Raises:
        TimeoutError: says who has not come.
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
    raise TimeoutError(f"rank {', '.join(missing)} did not come" if missing else "not all have come back")


def _lead(store: Any, session: dict[str, Any], world_size: int) -> dict[str, Any]:
    """The session of the words that are there now; the present one if they are its own."""
    words = _read(store, [f"hello/{other}" for other in range(world_size)])
    if words is None or words == session.get("words"):
        return session
    session = {"name": uuid4().hex, "words": words}
    store.set("session", json.dumps(session))
    return session


def _read(store: Any, keys: Sequence[str]) -> list[str] | None:
    """What stands under the keys; None if one is not there."""
    if keys and not store.check(list(keys)):
        return None
    return [store.get(key).decode() for key in keys]
