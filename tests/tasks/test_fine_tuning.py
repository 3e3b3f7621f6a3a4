"""MODEL.FREEZE and MODEL.POS_WEIGHT: what they name, refuse and compute."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.clips import make_noise_data
from transm3e.config import get_cfg
from transm3e.config.check import check_cfg
from transm3e.config.node import merge_opts
from transm3e.data.annotations import read_clip_table, table_file
from transm3e.engine.optim import build_optimizer
from transm3e.errors import UserError
from transm3e.losses import LOSSES, softmax_bce
from transm3e.models import build_model
from transm3e.tasks import build_task
from transm3e.tasks.fine_tuning import freeze, pos_weights


def model():
    parts = {
        "stem": nn.Linear(2, 2),
        "blocks": nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)),
        "head": nn.Linear(2, 2),
    }
    return nn.ModuleDict(parts)


@pytest.mark.parametrize(
    ("beginnings", "trained"),
    [
        (["stem", "blocks.0."], ["blocks.1", "head"]),
        (["not head"], ["head"]),
        (["not head", "not blocks.1"], ["blocks.1", "head"]),
        (["blocks", "not blocks.1.bias"], ["stem", "blocks.1.bias", "head"]),
    ],
)
def test_what_is_named_is_frozen_and_all_else_trained(beginnings, trained):
    net = model()
    frozen = freeze(net, beginnings)
    left = [name for name, p in net.named_parameters() if p.requires_grad]
    assert left
    assert all(name.startswith(tuple(trained)) for name in left)
    assert not any(name.startswith(tuple(trained)) for name in frozen)
    assert len(left) + len(frozen) == 8


@pytest.mark.parametrize(
    ("beginnings", "message"),
    [
        (["block.0"], "no parameter begins with 'block.0'; nearest: blocks"),
        (["not heads"], "no parameter begins with 'heads'; nearest: head"),
        (["stem", "blocks", "head"], "leaves nothing to train"),
    ],
)
def test_what_freezes_nothing_or_everything_is_refused(beginnings, message):
    with pytest.raises(UserError, match=message) as caught:
        freeze(model(), beginnings)
    assert "\n" not in str(caught.value)


def config(*words):
    cfg = get_cfg()
    merge_opts(cfg, ["NUM_GPUS", 0, *words])
    return cfg


@pytest.mark.parametrize("name", ["bce_softmax", "bce_logits"])
def test_positive_labels_are_weighted_by_class(name):
    draw = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(5, 3, generator=draw), (torch.rand(5, 3, generator=draw) < 0.5).float()
    weights, plain = torch.tensor([0.5, 1.0, 4.0]), LOSSES[name]
    p = plain.scores(logits)
    by_hand = -(weights * labels * p.log() + (1 - labels) * (1 - p).log()).mean()
    torch.testing.assert_close(plain.weighted(weights.tolist())(logits, labels), by_hand)
    # Ones are the loss itself, to the last bit.
    assert torch.equal(plain.weighted([1.0] * 3)(logits, labels), plain(logits, labels))
    assert torch.equal(softmax_bce(logits, labels), LOSSES["bce_softmax"](logits, labels))
    assert torch.equal(F.binary_cross_entropy_with_logits(logits, labels), LOSSES["bce_logits"](logits, labels))


def test_balanced_weights_are_negatives_by_positives_of_the_training_clips(tmp_path):
    data = make_noise_data(tmp_path / "data")
    found = pos_weights(config("DATA.PATH_TO_DATA_DIR", str(data), "MODEL.POS_WEIGHT", "[balanced]"))
    labels = read_clip_table(table_file(str(data))).select("train").labels
    for weight, column in zip(found, labels.T, strict=True):
        have = int(column.sum())
        assert weight == pytest.approx((len(labels) - have) / have if 0 < have < len(labels) else 1.0)
    assert pos_weights(config("MODEL.POS_WEIGHT", [2.0])) == [2.0] * 20


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["MODEL.POS_WEIGHT", [1.0, 2.0]], "POS_WEIGHT has 2 numbers; give one, or 20"),
        (["MODEL.POS_WEIGHT", "[balance]"], r"POS_WEIGHT is \['balance'\]; it must be"),
        (["MODEL.POS_WEIGHT", [0.0]], "it must be"),
        (["MODEL.POS_WEIGHT", [2.0], "MODEL.LOSS_FUNC", "asl"], "LOSS_FUNC asl has no weights of classes"),
        (["SOLVER.EARLY_STOP", 3, "TRAIN.EVAL_PERIOD", 0], "EARLY_STOP is 3, but nothing is validated"),
        (["SOLVER.EMA_DECAY", 1.0], "EMA_DECAY is 1.0; it must be from 0 to below 1"),
        (["LOG.BACKENDS", "[tensorbord]"], "names tensorbord; allowed: tensorboard, wandb, mlflow, csv"),
    ],
)
def test_contradictions_are_refused(words, message):
    with pytest.raises(UserError, match=message):
        check_cfg(config(*words))


SMALL = (
    *("MODEL.MODEL_NAME", "MViT", "MVIT.EMBED_DIM", 8, "MVIT.DEPTH", 1, "MVIT.POOL_Q_STRIDE", [[0, 1, 1, 1]]),
    *("MVIT.DIM_MUL", [], "MVIT.HEAD_MUL", [], "DATA.NUM_FRAMES", 2, "DATA.TRAIN_CROP_SIZE", 32),
)


def test_weights_that_the_start_does_not_hold_are_not_frozen(tmp_path):
    start = tmp_path / "w.pyth"
    torch.save({"model_state": build_model(config(*SMALL, "MODEL.NUM_CLASSES", 7)).state_dict()}, start)
    words = (*SMALL, "TRAIN.CHECKPOINT_FILE_PATH", str(start), "TRAIN.CHECKPOINT_ALLOW", ["head."], "MODEL.FREEZE")
    with pytest.raises(UserError, match=r"would keep the random initialisation of head\.weight, head\.bias, which"):
        build_task(config(*words, ["head"]), torch.device("cpu"))
    task = build_task(config(*words, ["not head"]), torch.device("cpu"))
    assert [name for name, p in task.model.named_parameters() if p.requires_grad] == ["head.weight", "head.bias"]
    assert [len(group["params"]) for group in build_optimizer(config(*SMALL), task.model).param_groups] == [1, 1]
