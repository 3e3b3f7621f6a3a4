"""Work on threads with progress."""

from __future__ import annotations

import time

import pytest

from transm3e.progress import map_with_progress


def test_results_keep_the_order_of_the_items():
    def late_first(seconds):
        time.sleep(seconds)
        return seconds

    assert map_with_progress(late_first, [0.1, 0.0, 0.05], 3, "work") == [0.1, 0.0, 0.05]


def test_the_first_exception_ends_the_work_that_has_not_begun():
    begun = []

    def fail(item):
        begun.append(item)
        time.sleep(0.05)
        raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match="item 0"):
        map_with_progress(fail, range(100), 2, "work")
    assert len(begun) < 10
