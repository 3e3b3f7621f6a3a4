"""Random and All Ones: the same clip always scores the same, and All Ones scores the share of positives."""

import numpy as np
import pytest
import torch

from transm3e.config import get_cfg
from transm3e.metrics import mean_average_precision
from transm3e.models import build_model
from transm3e.models.statistic import AllOnes, Random


def clips(seed=0, number=4):
    return torch.randint(0, 256, (number, 3, 2, 8, 8), generator=torch.Generator().manual_seed(seed)) / 255


@pytest.mark.parametrize("model", [Random("rgb", 7), AllOnes("rgb", 7)])
def test_logits_of_every_clip_and_nothing_to_learn(model):
    output = model({"rgb": clips()})
    assert output.logits.shape == (4, 7)
    assert output.mcts == output.receivers == []
    assert list(model.state_dict()) == []


def test_random_depends_on_clip_and_seed_alone():
    model, x = Random("rgb", 20), clips()
    logits = model({"rgb": x}).logits
    torch.rand(5)
    assert torch.equal(model({"rgb": x}).logits, logits)
    assert torch.equal(model({"rgb": x.flip(0)}).logits.flip(0), logits)
    assert torch.equal(torch.cat([model({"rgb": clip[None]}).logits for clip in x]), logits)
    assert not torch.equal(Random("rgb", 20, seed=1)({"rgb": x}).logits, logits)
    assert len({tuple(row.tolist()) for row in logits}) == 4


def test_one_grey_level_of_one_pixel_changes_random():
    x = clips(number=1)
    x[0, 0, 0, 0, 0] = 0.5
    y = x.clone()
    y[0, 0, 0, 0, 0] += 1 / 255
    model = Random("rgb", 20)
    assert not torch.equal(model({"rgb": x}).logits, model({"rgb": y}).logits)


def test_random_is_standard_normal_and_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    logits = Random("rgb", 2000)({"rgb": clips()}).logits
    assert torch.equal(torch.rand(1), expected)
    assert abs(logits.mean().item()) < 0.05
    assert abs(logits.std().item() - 1) < 0.05


def test_all_ones_scores_the_share_of_positives():
    labels = (np.random.default_rng(0).random((50, 20)) < 0.3).astype(np.uint8)
    scores = AllOnes("rgb", 20)({"rgb": clips(number=50)}).logits.softmax(-1)
    assert mean_average_precision(scores, labels) == pytest.approx(labels.mean(0).mean())


@pytest.mark.parametrize(("name", "kind"), [("Random", Random), ("AllOnes", AllOnes)])
def test_they_are_built_from_a_config(name, kind):
    cfg = get_cfg()
    cfg.MODEL.MODEL_NAME, cfg.MODEL.NUM_CLASSES, cfg.DATA.MODALITY = name, 5, "rgb_diff"
    model = build_model(cfg)
    assert isinstance(model, kind)
    assert model({"rgb_diff": clips()}).logits.shape == (4, 5)
