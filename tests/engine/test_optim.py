"""Learning-rate schedule against its formulas, parameter groups, and the optimisers that are built."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from transm3e.config import get_cfg
from transm3e.config.check import check_cfg
from transm3e.config.node import merge_opts
from transm3e.engine.optim import SPARED, Decays, Schedule, build_optimizer, clip_gradient, parameter_groups, set_rate
from transm3e.errors import UserError


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


def with_norms():
    net = nn.ModuleDict({"norm": nn.BatchNorm1d(4), "linear": nn.Linear(4, 2), "attn": nn.Module()})
    net["attn"].register_parameter("rel_pos_h", nn.Parameter(torch.zeros(3, 4)))
    net.register_parameter("cls_token", nn.Parameter(torch.zeros(1, 1, 4)))
    return net


@pytest.mark.parametrize(
    ("decays", "expected"),
    [
        # Without exceptions: all but batch norms, which have their own.
        (Decays(0.1), [0.1, 0.0, 0.0, 0.1, 0.1, 0.1]),
        (Decays(0.1, norm=0.3), [0.1, 0.3, 0.3, 0.1, 0.1, 0.1]),
        (Decays(0.1, spare_1d=True, norm=0.3), [0.1, 0.3, 0.3, 0.1, 0.0, 0.1]),
        (Decays(0.1, spare_1d=True, spared=SPARED), [0.0, 0.0, 0.0, 0.1, 0.0, 0.0]),
    ],
)
def test_weight_decay_is_pyslowfasts(decays, expected):
    net = with_norms()
    found = {id(p): group["weight_decay"] for group in parameter_groups(net, decays) for p in group["params"]}
    names = [name for name, _ in net.named_parameters()]
    assert names == ["cls_token", "norm.weight", "norm.bias", "linear.weight", "linear.bias", "attn.rel_pos_h"]
    assert [found[id(p)] for p in net.parameters()] == expected


def test_layer_decay_lowers_the_rate_from_block_to_block():
    net = nn.ModuleDict({"patch_embed": nn.Linear(2, 2), "blocks": nn.ModuleList(nn.Linear(2, 2) for _ in range(3))})
    net["head"] = nn.Linear(2, 2)
    cfg = get_cfg()
    merge_opts(cfg, ["SOLVER.LAYER_DECAY", 0.5])
    optimizer = build_optimizer(cfg, net)
    set_rate(optimizer, 0.8)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    # decay ** (N + 1 - layer), where layer 0 is the patch embedding, i + 1 block i, and N + 1 the head.
    expected = {"patch_embed": 0.8 / 16, "blocks.0": 0.1, "blocks.1": 0.2, "blocks.2": 0.4, "head": 0.8}
    assert {name: rates[id(net.get_submodule(name).weight)] for name in expected} == pytest.approx(expected)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 10
    with pytest.raises(UserError, match=r"SOLVER\.LAYER_DECAY is 0\.5, but only transformers"):
        build_optimizer(cfg, with_norms())


@pytest.mark.parametrize(
    ("nesterov", "dampening", "momentum"), [(True, 0, 0.9), (False, 0, 0.9), (False, 0.4, 0.9), (True, 0, 0)]
)
def test_sgd_by_its_formula(nesterov, dampening, momentum):
    cfg, weight = get_cfg(), nn.Linear(1, 1, bias=False).double()
    merge_opts(cfg, ["SOLVER.OPTIMIZING_METHOD", "sgd", "SOLVER.BASE_LR", 0.1, "SOLVER.WEIGHT_DECAY", 0.2])
    merge_opts(cfg, ["SOLVER.NESTEROV", nesterov, "SOLVER.DAMPENING", dampening, "SOLVER.MOMENTUM", momentum])
    optimizer = build_optimizer(cfg, weight)
    x, velocity = float(weight.weight), None
    for gradient in (1.0, -0.5, 2.0):
        weight.weight.grad = torch.full((1, 1), gradient, dtype=torch.float64)
        optimizer.step()
        g = gradient + 0.2 * x
        velocity = g if velocity is None else momentum * velocity + (1 - dampening) * g
        x -= 0.1 * (g + momentum * velocity if nesterov else velocity)
    assert float(weight.weight) == pytest.approx(x, rel=1e-12)


@pytest.mark.parametrize(
    ("norm", "value", "expected"), [(0, 0, [3.0, -4.0]), (1.0, 0, [0.6, -0.8]), (1.0, 3.5, [3.0, -3.5])]
)
def test_a_gradient_is_clipped_by_value_or_else_by_norm(norm, value, expected):
    net = nn.Linear(2, 1, bias=False)
    net.weight.grad = torch.tensor([[3.0, -4.0]])
    assert float(clip_gradient(net, norm, value)) == 5
    assert net.weight.grad.flatten().tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("steps", "shares", "warmup"),
    [
        ([0, 94, 154, 196], [1, 0.1, 0.01, 0.001, 0.0001, 0.00001], 34.0),  # SlowFast's, which names more than it uses
        ([0, 35, 55], [1, 0.1, 0.01], 5.0),  # CTR-GCN's
    ],
)
def test_steps_are_pyslowfasts(steps, shares, warmup):
    cfg = get_cfg()
    merge_opts(cfg, ["SOLVER.LR_POLICY", "steps_with_relative_lrs", "SOLVER.STEPS", steps, "SOLVER.LRS", shares])
    merge_opts(cfg, ["SOLVER.BASE_LR", 0.1, "SOLVER.WARMUP_EPOCHS", warmup, "SOLVER.WARMUP_START_LR", 0.01])
    merge_opts(cfg, ["SOLVER.MAX_EPOCH", 196 if warmup > 5 else 65, "MODEL.MODEL_NAME", "VideoSwin"])
    check_cfg(cfg)
    schedule = Schedule.from_cfg(cfg, 1)
    for epoch in (0, 1.5, warmup - 0.01, warmup, 40, 56, 64.9):
        # Its rule: the last step that is not later.
        expected = 0.1 * shares[max(i for i, step in enumerate(steps) if step <= epoch)]
        if epoch < warmup:
            expected = 0.01 + epoch * (0.1 - 0.01) / warmup
        assert schedule.rate(epoch) == pytest.approx(expected, rel=1e-12)


def test_layer_decay_survives_a_checkpoint_and_older_ones_have_none():
    net = nn.ModuleDict({"blocks": nn.ModuleList(nn.Linear(2, 2) for _ in range(2)), "head": nn.Linear(2, 2)})
    cfg = get_cfg()
    merge_opts(cfg, ["SOLVER.LAYER_DECAY", 0.5])
    optimizer, again = build_optimizer(cfg, net), build_optimizer(cfg, net)
    again.load_state_dict(optimizer.state_dict())
    set_rate(optimizer, 0.3)
    set_rate(again, 0.3)
    assert [group["lr"] for group in again.param_groups] == [group["lr"] for group in optimizer.param_groups]
    assert len({group["lr"] for group in again.param_groups}) == 3
    merge_opts(cfg, ["SOLVER.LAYER_DECAY", 1.0])
    older = build_optimizer(cfg, net)
    state = older.state_dict()
    for group in state["param_groups"]:
        del group["scale"]
    older.load_state_dict(state)
    set_rate(older, 0.3)
    assert [group["lr"] for group in older.param_groups] == [0.3, 0.3]
