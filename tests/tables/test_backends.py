"""Backends: GPUs of this host shared among runs, or jobs of a cluster."""

from __future__ import annotations

import pytest
import torch

from transm3e.errors import UserError
from transm3e.runs.folder import GPUS
from transm3e.tables.cluster.backends import local_backend


@pytest.fixture
def gpus(monkeypatch):
    """Returns a function (number, names) that lets this machine have GPUs."""

    def pretend(number, visible=None):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: number)
        monkeypatch.delenv(GPUS, raising=False)
        if visible is not None:
            monkeypatch.setenv(GPUS, visible)

    return pretend


@pytest.mark.parametrize(
    ("number", "visible", "jobs", "each", "expected"),
    [
        (4, None, None, None, ["0", "1", "2", "3"]),
        (4, None, None, 2, ["0,1", "2,3"]),
        (4, None, 1, 3, ["0,1,2"]),
        (5, None, None, 2, ["0,1", "2,3"]),
        # The names are the caller's, as a queue gives them.
        (2, "5,GPU-8a", None, None, ["5", "GPU-8a"]),
    ],
)
def test_gpus_are_shared_out(gpus, number, visible, jobs, each, expected):
    gpus(number, visible)
    backend = local_backend(jobs, each)
    assert [environment[GPUS] for environment in backend.environments] == expected
    assert backend.gpus_per_run == len(expected[0].split(","))


def test_the_cpu_takes_one_run_or_as_many_as_are_asked_for(gpus):
    gpus(0)
    assert local_backend(None, None).environments == ({},)
    assert local_backend(3, None).environments == ({},) * 3
    gpus(2)
    assert local_backend(2, 0).environments == ({},) * 2


@pytest.mark.parametrize(("jobs", "each"), [(3, 1), (2, 2), (None, 3), (0, 1), (1, -1)])
def test_more_than_there_is_is_refused(gpus, jobs, each):
    gpus(2)
    with pytest.raises(UserError, match=r"does not fit 2 GPU\(s\); --jobs must be at least 1"):
        local_backend(jobs, each)
