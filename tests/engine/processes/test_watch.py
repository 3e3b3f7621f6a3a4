"""Which process is reported as lost or late: two or three watches on one store in memory, with short limits."""

import json
import time

import pytest

from transm3e.cli import LOST_PROCESS
from transm3e.engine.processes import watch
from transm3e.engine.processes.watch import Watch, stacks


class Memory(dict):
    """A store as torch's: set, multi_get; `broken` is an unplugged network, `calls` what was asked of it."""

    broken, calls = False, 0

    def set(self, key, value):
        if self.broken:
            raise RuntimeError("Connection reset by peer")
        self.calls += 1
        self[key] = value.encode()

    def multi_get(self, keys):
        self.calls += 1
        return [self[key] for key in keys]


@pytest.fixture
def watches(monkeypatch):
    """watches(number, stall_s, silent_s) -> that many, started; exit statuses are in .deaths."""
    made = []
    monkeypatch.setattr(watch, "GRACE_S", 0.5)

    def make(number, stall_s=30.0, silent_s=0.5):
        store = Memory()
        for rank in range(number):
            deaths = []
            made.append(Watch(store, rank, number, stall_s, silent_s, die=deaths.append))
            made[-1].deaths = deaths
        for each in made:
            each.start()
        return made

    yield make
    for each in made:
        each._closed.set()


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end and not condition():
        time.sleep(0.01)
    assert condition()


def silence(process):
    process._closed.set()


def test_a_silent_process_is_named_with_its_position(watches):
    first, second = watches(2)
    second.note("epoch 3, step 7")
    wait_for(lambda: first.peers[1].beat.get("where") == "epoch 3, step 7")
    silence(second)
    wait_for(lambda: first.deaths)
    assert first.deaths == [LOST_PROCESS]
    assert "rank 1 (process " in first.message
    assert "has not been heard of for" in first.message
    assert "last at epoch 3, step 7" in first.message


def test_of_many_processes_all_learn_who_is_silent(watches):
    *others, last = watches(5)
    silence(last)
    wait_for(lambda: all(other.deaths for other in others))
    for other in others:
        assert "rank 4 (process " in other.message
        assert "has not been heard of for" in other.message


def test_if_rank_0_is_silent_the_others_name_it_themselves(watches):
    first, *others = watches(3)
    silence(first)
    wait_for(lambda: all(other.deaths for other in others))
    assert all("rank 0 (process " in other.message and "not been heard of" in other.message for other in others)


@pytest.mark.parametrize("number", [2, 64])
def test_a_beat_costs_each_process_two_operations_however_many_there_are(number):
    store = Memory()
    made = [Watch(store, rank, number, stall_s=30.0) for rank in range(number)]
    costs = []
    for process in made:
        before = store.calls
        process._update()
        costs.append(store.calls - before)
    assert costs == [2] * number
    assert [len(process.peers) for process in made] == [number] + [1] * (number - 1)


def test_after_an_error_silence_is_explained_sooner_also_if_rank_0_has_not_seen_the_error(watches):
    first, second, third = watches(3)
    for process in (first, second):
        process.silent_s = 1000.0
    silence(third)
    assert "rank 2 (process " in str(second.explain(RuntimeError("Connection closed by peer")))
    wait_for(lambda: first.deaths)


def test_a_process_waited_for_too_long_is_named_and_told_why_all_end(watches):
    first, second, third = watches(3, stall_s=0.6)
    third.note("epoch 1, step 2")
    with first.waiting("the all-reduce of gradients"), second.waiting("the all-reduce of gradients"):
        wait_for(lambda: first.deaths or second.deaths)
    ended = first if first.deaths else second
    assert "in the all-reduce of gradients for rank 2 (process " in ended.message
    assert "rank 0" not in ended.message
    assert "at epoch 1, step 2" in ended.message
    wait_for(lambda: third.deaths)
    assert third.deaths == [LOST_PROCESS]
    assert "ended the run: waited" in third.message


def test_a_slow_process_that_makes_progress_is_waited_for(watches):
    first, second = watches(2, stall_s=0.6)
    with first.waiting("an all-gather of results"):
        for batch in range(15):
            second.note(f"batch {batch}")
            time.sleep(0.1)
    assert first.deaths == second.deaths == []


def test_all_arrived_and_still_no_end_blames_nobody(watches):
    first, second = watches(2, stall_s=0.6)
    with first.waiting("x"), second.waiting("x"):
        wait_for(lambda: first.deaths or second.deaths)
    assert "for no missing process: the network or a device is stuck" in (first.message + second.message)


def test_without_contact_the_holder_of_the_store_is_named(watches):
    _, second = watches(2)
    wait_for(lambda: second.peers[0].beat)
    second.store = Memory(second.store)
    second.store.broken = True
    wait_for(lambda: second.deaths)
    assert "(Connection reset by peer) with the rendezvous store" in second.message
    assert "held by rank 0 (process " in second.message


def test_a_store_that_goes_after_the_verdict_does_not_hide_it():
    second = Watch(Memory(), 1, 2, stall_s=30.0)
    second._verdict_read, second._cut = (("rank 0 ended the run: why", 2), time.monotonic()), " (Connection reset)"
    assert second._verdict(grace_s=100) == ("rank 0 ended the run: why", 2)


def test_an_end_is_announced_to_the_others(watches):
    first, second = watches(2)
    second.leave_with("error: RNG_SEED is odd", 2)
    wait_for(lambda: first._verdict_read)
    found = first.explain(RuntimeError("Connection closed\nby peer"))
    assert "rank 1 (process " in str(found)
    assert "ended the run: error: RNG_SEED is odd (Connection closed); " in str(found)
    assert found.exit_status == 2


def test_an_error_of_ones_own_is_not_put_down_to_others(watches):
    first, _ = watches(2, silent_s=0.3)
    assert first.explain(RuntimeError("shapes differ")) is None


def test_a_heartbeat_has_process_and_position(watches):
    first, _ = watches(2)
    with first.waiting("an all-reduce of flags"):
        assert first._own()["where"] == "an all-reduce of flags"
    assert set(json.loads(json.dumps(first._own()))) >= {"host", "pid", "where", "arrived", "work", "state"}


def test_the_stacks_of_all_other_threads(watches):
    watches(1)
    assert "_check" in stacks()
