"""Random numbers follow from where training stands."""

import itertools
import os

import torch

from transm3e.engine.seed import seed_step, set_deterministic


def draw(*place):
    seed_step(*place)
    return tuple(torch.rand(3).tolist())


def test_the_same_place_draws_the_same():
    first = draw(1, 2, 3, 0)
    draw(9, 9, 9, 9)
    assert draw(1, 2, 3, 0) == first


def test_every_place_draws_something_else():
    places = list(itertools.product(range(3), repeat=4))
    assert len({draw(*place) for place in places}) == len(places)


def test_a_seed_may_be_large():
    assert draw(2**62, 10**6, 10**7, 1023) != draw(2**62 + 1, 10**6, 10**7, 1023)


def test_deterministic_operations_are_switched_on_and_off(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    set_deterministic(False)
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    try:
        set_deterministic(True)
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        set_deterministic(False)
    assert not torch.are_deterministic_algorithms_enabled()
