"""The order of rounds, the arithmetic of ratios, and the garbage collector."""

from __future__ import annotations

import gc

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from transm3e.benchmark import timing
from transm3e.benchmark.timing import matrix_rate, no_garbage_collection, time_rounds, times_faster

CPU = torch.device("cpu")
POSITIVE = st.floats(1e-3, 1e3)


def test_calls_take_turns_and_the_warm_up_is_left_out():
    order, collecting = [], []

    def call(name):
        return lambda: (order.append(name), collecting.append(gc.isenabled()))

    seconds = time_rounds({"a": call("a"), "b": call("b")}, 3, 2, CPU, "trial")
    assert "".join(order) == "ab" * 5
    assert {name: len(rounds) for name, rounds in seconds.items()} == {"a": 3, "b": 3}
    assert all(second > 0 for rounds in seconds.values() for second in rounds)
    assert not any(collecting)
    assert gc.isenabled()


def test_garbage_collection_is_on_again_after_an_error():
    with pytest.raises(ZeroDivisionError), no_garbage_collection():
        raise ZeroDivisionError
    assert gc.isenabled()


@given(POSITIVE, POSITIVE, st.lists(POSITIVE, min_size=1, max_size=9))
def test_drift_that_meets_both_does_not_change_the_ratio(reference, ours, drift):
    ratio = times_faster([reference * factor for factor in drift], [ours * factor for factor in drift])
    assert ratio == pytest.approx(reference / ours)


def test_the_ratio_is_the_median_of_the_rounds():
    # Medians of each side would give 4 / 2.
    assert times_faster([4.0, 3.0, 100.0], [2.0, 1.0, 10.0]) == 3.0


def test_matrix_rate_counts_two_operations_per_multiply_add(monkeypatch):
    ticks = iter(range(1000))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: float(next(ticks)))
    assert matrix_rate(CPU, torch.float32, side=16) == 2 * 16**3
