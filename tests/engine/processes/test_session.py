"""Processes that meet agree on one new name, whatever earlier ones have left in the store."""

from __future__ import annotations

import threading
import time

import pytest
import torch.distributed as dist

from transm3e.engine.processes.session import agree_on_session


def meet(store, ranks, world_size, limit_s=20.0, late=()):
    """Names that the ranks agree on, each in a thread of its own; those in `late` come half a second later."""
    names = {}

    def come(rank):
        time.sleep(0.5 * (rank in late))
        names[rank] = agree_on_session(store, rank, world_size, limit_s)

    threads = [threading.Thread(target=come, args=(rank,)) for rank in ranks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [names.get(rank) for rank in ranks]


@pytest.mark.parametrize("world_size", [1, 2, 5])
def test_all_agree_and_every_meeting_has_a_name_of_its_own(world_size):
    store, seen = dist.HashStore(), set()
    for _ in range(4):
        names = meet(store, range(world_size), world_size)
        assert len(set(names)) == 1
        assert names[0]
        assert names[0] not in seen
        seen.add(names[0])


@pytest.mark.parametrize("late", [[0], [1], [2], [1, 2]])
def test_what_the_dead_have_left_is_not_believed(late):
    """A restarted process finds the words of all, its own dead one's too, and comes sooner or later than the others."""
    store = dist.HashStore()
    [before, *_] = meet(store, range(3), 3)
    names = meet(store, range(3), 3, late=late)
    assert len(set(names)) == 1
    assert names[0] != before


def test_a_smaller_world_may_meet_where_a_larger_one_did():
    store = dist.HashStore()
    meet(store, range(3), 3)
    names = meet(store, range(2), 2, late=[1])
    assert names[0] == names[1]


def test_who_does_not_come_is_named():
    with pytest.raises(TimeoutError, match="rank 1, 2 did not arrive"):
        agree_on_session(dist.HashStore(), 0, 3, 0.2)
