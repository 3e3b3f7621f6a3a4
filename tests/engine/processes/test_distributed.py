"""Two processes on gloo: collectives, DDP, and how a run with an error in one of them ends."""

import importlib
import re
import sys
import time

import pytest
import torch
from torch import nn

from tests.two_processes import free_port
from transm3e.config import get_cfg
from transm3e.config.node import merge_opts
from transm3e.engine.processes import launch as launching
from transm3e.engine.processes.distributed import (
    barrier,
    gather,
    highest,
    is_main,
    rank,
    select_device,
    world_size,
)
from transm3e.engine.processes.launch import launch
from transm3e.engine.processes.parallel import wrap
from transm3e.errors import ExitRequest, UserError

CPU = torch.device("cpu")
# What the processes run: a module of its own, since they import it by name. It lets each of two "GPUs" be the CPU.
JOBS = """
import os
import signal

import torch
from torch import nn
import transm3e.engine.processes.distributed as d
import transm3e.engine.processes.launch
from transm3e.distill.centre import Centre
from transm3e.engine.processes.parallel import gradient_sync, wrap
from transm3e.errors import UserError
from transm3e.models.output import ModelOutput

torch.set_num_threads(1)
transm3e.engine.processes.launch.select_device = lambda *_args, **_more: torch.device("cpu")


def talk(folder, device):
    torch.manual_seed(d.rank())
    raw = nn.Linear(2, 1)
    model = wrap(raw, device)
    start = d.gather(raw.weight.tolist())
    model(torch.full((1, 2), d.rank() + 1.0)).sum().backward()
    gradient = raw.weight.grad.tolist()
    raw.weight.grad = None
    parts = []
    for last in (False, True):
        with gradient_sync(model, last):
            model(torch.full((1, 2), d.rank() + 1.0)).sum().backward()
        parts.append(raw.weight.grad.tolist())
    centre = Centre([(1, 1)])
    # One process sends 2 clips of 1, the other 1 clip of 4: the mean is 2.
    centred = centre(ModelOutput(torch.zeros(()), mcts=[torch.full((2 - d.rank(), 1, 1), 1.0 + 3 * d.rank())])).mcts
    told = {
        "centre": [centre.count.item(), centre.mean.item(), centred[0].flatten().tolist()],
        "process": (d.rank(), d.world_size(), d.is_main()),
        "gathered": d.gather({"rank": d.rank()}),
        "any": d.highest([0, d.rank(), -d.rank()], device),
        "same_start": start[0] == start[1],
        "gradient": gradient,
        "accumulated": parts,
        "names": list(raw.state_dict()),
        "wrapped": raw is not model,
    }
    d.barrier()
    torch.save(told, f"{folder}/{d.rank()}.pt")


def refuse(culprit, device):
    if d.rank() == culprit:
        raise UserError("RNG_SEED is odd")
    d.gather("waiting for the other")


def die(culprit, device):
    if d.rank() == culprit:
        os.kill(os.getpid(), signal.SIGKILL)
    d.gather("waiting for the other")
"""


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    (tmp_path / "two_process_jobs.py").write_text(JOBS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(launching, "select_device", select_device)
    threads = torch.get_num_threads()
    yield importlib.import_module("two_process_jobs")
    torch.set_num_threads(threads)
    del sys.modules["two_process_jobs"]


def two_gpus():
    cfg = get_cfg()
    cfg.NUM_GPUS = 2
    return cfg


def test_two_processes_talk_and_share_gradients(jobs, tmp_path):
    launch(jobs.talk, two_gpus(), "", str(tmp_path))
    told = [torch.load(tmp_path / f"{number}.pt", weights_only=True) for number in (0, 1)]
    assert [one["process"] for one in told] == [(0, 2, True), (1, 2, False)]
    for one in told:
        assert one["gathered"] == [{"rank": 0}, {"rank": 1}]
        assert one["any"] == [0, 1, 0]
        assert one["same_start"]
        # The mean of the inputs, 1 and 2.
        assert one["gradient"] == [[1.5, 1.5]]
        # Each for itself until the last part, which brings the mean of the sums, 2 and 4.
        own = float(one["process"][0] + 1)
        assert one["accumulated"] == [[[own, own]], [[3.0, 3.0]]]
        assert one["wrapped"]
        assert one["names"] == ["weight", "bias"]
    assert [one["centre"] for one in told] == [[3, 2, [-1, -1]], [3, 2, [2]]]


@pytest.mark.parametrize("culprit", [0, 1])
def test_a_users_error_in_one_process_ends_all_with_status_2(jobs, capfd, culprit):
    begin = time.monotonic()
    with pytest.raises(ExitRequest, match=f"process {culprit} ended the run, see above") as caught:
        launch(jobs.refuse, two_gpus(), "", culprit)
    assert caught.value.exit_status == 2
    assert "error: RNG_SEED is odd\n" in capfd.readouterr().err
    assert time.monotonic() - begin < 60


def test_a_killed_process_is_named_and_the_others_end(jobs):
    with pytest.raises(ExitRequest) as caught:
        launch(jobs.die, two_gpus(), "", 1)
    assert re.search(r"rank 1 \(process 1 of 2 on .+\) was killed by SIGKILL, and the others were", str(caught.value))
    assert caught.value.exit_status == 128 + 9


def test_processes_that_do_not_meet_say_where_and_who():
    cfg = get_cfg()
    merge_opts(cfg, ["NUM_GPUS", 0, "NUM_SHARDS", 2, "DIST_TIMEOUT", 1.0])
    address = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(UserError, match=rf"rank 0 of 2 could not join the others at {address}: .*\(DIST_TIMEOUT 1 s\)"):
        launch(print, cfg, address)
    assert world_size() == 1


def test_one_process_alone(tmp_path):
    assert (rank(), world_size(), is_main()) == (0, 1, True)
    assert gather("x") == ["x"]
    assert highest([True, 0, -3], CPU) == [1, 0, -3]
    barrier()
    model = nn.Linear(1, 1)
    assert wrap(model, CPU) is model


def test_one_process_is_not_spawned():
    cfg, seen = get_cfg(), []
    cfg.NUM_GPUS = 0
    launch(lambda *args: seen.append(args), cfg, "", "a", 2)
    assert seen == [("a", 2, CPU)]


def test_more_gpus_than_there_are_is_a_users_error():
    found = torch.cuda.device_count()
    with pytest.raises(UserError, match=rf"NUM_GPUS is {found + 1}, but torch sees {found}; set NUM_GPUS {found}"):
        select_device(found + 1)
    assert select_device(0) == CPU


def test_several_hosts_need_an_address():
    cfg = get_cfg()
    merge_opts(cfg, ["NUM_GPUS", 0, "NUM_SHARDS", 2])
    with pytest.raises(UserError, match="--init_method tcp://HOST:PORT"):
        launch(print, cfg, "")
