"""Learning-rate schedule against its formulas, parameter groups, and the optimisers that are built."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from transm3e.config import get_cfg
from transm3e.config.node import merge_opts
from transm3e.engine.optim import Decays, Schedule, build_optimizer, parameter_groups, set_rate


def schedule(**changes):
    plain = {
        "policy": "cosine",
        "base": 1.0,
        "end": 0.1,
        "max_epoch": 10.0,
        "warmup_epochs": 2.0,
        "warmup_start": 0.01,
        "after_warmup": True,
    }
    return Schedule(**{**plain, **changes})


@pytest.mark.parametrize("epoch", [2.0, 3.5, 6.0, 9.99, 10.0])
def test_the_cosine_after_the_warm_up(epoch):
    expected = 0.1 + 0.9 * (math.cos(math.pi * (epoch - 2) / 8) + 1) / 2
    assert schedule().rate(epoch) == pytest.approx(expected)


@pytest.mark.parametrize("epoch", [2.0, 6.0, 10.0])
def test_the_cosine_under_the_warm_up(epoch):
    expected = 0.1 + 0.9 * (math.cos(math.pi * epoch / 10) + 1) / 2
    assert schedule(after_warmup=False).rate(epoch) == pytest.approx(expected)


@pytest.mark.parametrize(("after_warmup", "top"), [(True, 1.0), (False, 0.1 + 0.9 * (math.cos(math.pi / 5) + 1) / 2)])
def test_the_warm_up_is_linear_and_meets_the_cosine(after_warmup, top):
    warm = schedule(after_warmup=after_warmup)
    assert warm.rate(0) == 0.01
    assert warm.rate(1) == pytest.approx((0.01 + top) / 2)
    assert warm.rate(2 - 1e-9) == pytest.approx(warm.rate(2)) == pytest.approx(top)


@pytest.mark.parametrize(
    ("epoch", "share"), [(2.0, 1.0), (4.99, 1.0), (5.0, 0.1), (7.5, 0.1), (8.0, 0.01), (10.0, 0.01)]
)
def test_steps_are_shares_of_the_base_rate_as_in_pyslowfast(epoch, share):
    steps = schedule(policy="steps_with_relative_lrs", base=0.4, steps=(0, 5, 8), shares=(1, 0.1, 0.01))
    assert steps.rate(epoch) == pytest.approx(0.4 * share)
    assert steps.rate(1.0) == pytest.approx((0.01 + 0.4) / 2)  # the warm-up leads to the first share


def test_constant():
    rates = schedule(policy="constant")
    assert (rates.rate(0), rates.rate(2), rates.rate(10)) == (0.01, 1.0, 1.0)
    assert schedule(policy="constant", warmup_epochs=0.0).rate(0) == 1.0


@given(st.sampled_from(["cosine", "constant"]), st.floats(0, 1), st.floats(0, 40), st.floats(0, 1), st.booleans())
def test_rates_stay_between_their_ends(policy, passed, warmup, start, after):
    rate = schedule(policy=policy, warmup_epochs=warmup, warmup_start=start, after_warmup=after).rate(10 * passed)
    assert min(start, 0.1) - 1e-12 <= rate <= 1 + 1e-12


def test_the_number_of_hosts_scales_all_three_rates():
    cfg = get_cfg()
    merge_opts(cfg, ["SOLVER.WARMUP_EPOCHS", 1])
    plain = Schedule.from_cfg(cfg, 4)
    assert (plain.base, plain.end, plain.warmup_start, plain.max_epoch) == (1e-4, 1e-6, 1e-6, 10)
    cfg.SOLVER.BASE_LR_SCALE_NUM_SHARDS = True
    scaled = Schedule.from_cfg(cfg, 4)
    for epoch in (0, 0.5, 1, 7):
        assert scaled.rate(epoch) == pytest.approx(4 * plain.rate(epoch))


def model():
    net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    net.register_parameter("tokens", nn.Parameter(torch.zeros(1, 5, 4)))
    net[2].weight.requires_grad_(False)
    return net


def test_biases_and_norms_are_spared_weight_decay():
    net = model()
    decayed, spared = parameter_groups(net, Decays(0.05, spare_1d=True))
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.05, 0.0)
    assert {id(p) for p in decayed["params"]} == {id(net.tokens), id(net[0].weight)}
    assert {id(p) for p in spared["params"]} == {id(net[0].bias), id(net[1].weight), id(net[1].bias), id(net[2].bias)}


def test_without_the_exception_there_is_one_group_and_frozen_parameters_are_in_none():
    net = model()
    [group] = parameter_groups(net, Decays(0.05))
    assert len(group["params"]) == 6
    assert all(p.requires_grad for p in group["params"])


def test_the_optimisers():
    cfg = get_cfg()
    merge_opts(cfg, ["SOLVER.BASE_LR", 0.25, "SOLVER.BETAS", [0.8, 0.9]])
    adamw = build_optimizer(cfg, model())
    assert isinstance(adamw, torch.optim.AdamW)
    assert (adamw.defaults["lr"], adamw.defaults["betas"]) == (0.25, (0.8, 0.9))
    merge_opts(cfg, ["SOLVER.OPTIMIZING_METHOD", "sgd"])
    sgd = build_optimizer(cfg, model())
    assert isinstance(sgd, torch.optim.SGD)
    assert (sgd.defaults["momentum"], sgd.defaults["nesterov"]) == (0.9, True)
    merge_opts(cfg, ["SOLVER.MOMENTUM", 0])
    assert not build_optimizer(cfg, model()).defaults["nesterov"]
    set_rate(adamw, 0.125)
    assert [group["lr"] for group in adamw.param_groups] == [0.125, 0.125]


def test_a_checkpoint_does_not_bring_its_devices_kernels():
    """SGD is fused on GPUs; what one wrote is resumed elsewhere, and the other way round."""
    cfg = get_cfg()
    cfg.SOLVER.OPTIMIZING_METHOD = "sgd"
    optimizer = build_optimizer(cfg, torch.nn.Linear(2, 2))
    state = optimizer.state_dict()
    for group in state["param_groups"]:
        group["fused"] = True
    optimizer.load_state_dict(state)
    assert [group["fused"] for group in optimizer.param_groups] == [False, False]
