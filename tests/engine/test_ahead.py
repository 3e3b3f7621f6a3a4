"""The next batch comes early, in order, and what goes wrong meanwhile is raised when it is asked for."""

from __future__ import annotations

import pytest
import torch

from transm3e.data.types import Batch
from transm3e.engine.ahead import Ahead
from transm3e.errors import UserError

CPU = torch.device("cpu")


def batches(asked, wrong_at=None):
    for number in range(3):
        asked.append(number)
        if number == wrong_at:
            raise UserError("unreadable")
        whole = torch.tensor([number])
        yield Batch({"rgb": whole}, whole, whole, whole)


@pytest.mark.parametrize("on", [False, True])
def test_batches_come_in_order_and_early_where_asked(on):
    asked = []
    ahead = Ahead(batches(asked), CPU, on)
    for number in range(3):
        batch, there = next(ahead)
        assert batch.rows.item() == there.rows.item() == number
        for _ in range(2):
            ahead.load()
        assert asked == list(range(min(3, number + 1 + on)))
    with pytest.raises(StopIteration):
        next(ahead)


def test_what_goes_wrong_ahead_does_not_end_the_step_before():
    ahead = Ahead(batches([], wrong_at=1), CPU, on=True)
    next(ahead)
    ahead.load()
    with pytest.raises(UserError, match="unreadable"):
        next(ahead)
