"""DISTILL.CENTRE: the mean over all clips that were sent, and a loss in which what all clips share costs nothing."""

from __future__ import annotations

import pytest
import torch

from transm3e.distill.centre import Centre, build_centre
from transm3e.distill.mctkd import MCTKD
from transm3e.models import build_model
from transm3e.models.output import ModelOutput

WIDTHS = [6, 6, 12]
SHAPES = [(4, width) for width in WIDTHS]


def sent(clips, seed):
    draw = torch.Generator().manual_seed(seed)
    mcts = [5 + torch.randn(clips, 4, width, dtype=torch.float64, generator=draw) for width in WIDTHS]
    return ModelOutput(torch.zeros(clips, 20), mcts=mcts)


def test_tokens_are_centred_by_the_mean_of_all_clips_so_far():
    centre = Centre(SHAPES).double()
    seen = []
    for seed, clips in enumerate((3, 1, 5)):
        output = sent(clips, seed)
        seen.append(output.mcts)
        centred = centre(output).mcts
        for place, tokens in enumerate(output.mcts):
            mean = torch.cat([mcts[place] for mcts in seen]).mean(0)
            torch.testing.assert_close(centred[place], tokens - mean, rtol=1e-12, atol=1e-12)
    assert centre.count == 9


@pytest.mark.parametrize("axis", ["token", "channel", "full"])
def test_a_constant_receiver_pays_for_what_differs_between_clips_alone(axis):
    """The centred loss is that of equation 1 on differences, so it does not know what all clips share."""
    kd = MCTKD((1, 2), axis, 10.0, 0.9, "mean")
    zeros = ModelOutput(torch.zeros(3, 20), receivers=[torch.zeros(3, 4, width).double() for width in WIDTHS])
    output, draw = sent(3, seed=0), torch.Generator().manual_seed(9)
    shared = [100 * torch.randn(4, width, dtype=torch.float64, generator=draw) for width in WIDTHS]
    moved = ModelOutput(output.logits, mcts=[a + b for a, b in zip(output.mcts, shared, strict=True)])
    plain, centred = (
        [kd(zeros, f(o))["loss_mctkd"].item() for o in (output, moved)]
        for f in (lambda o: o, lambda o: Centre(SHAPES).double()(o))
    )
    assert plain[1] > 10 * plain[0]
    assert centred[1] == pytest.approx(centred[0], rel=1e-6)


def test_its_shapes_are_those_of_the_teachers_tokens(student_cfg):
    student_cfg.DISTILL.CENTRE = True
    student_cfg.MVIT.DIM_MUL = student_cfg.MVIT.HEAD_MUL = [[2, 2.0]]
    student_cfg.TRANSM3E.RECEIVERS, student_cfg.TRANSM3E.FUSION = False, "mean"
    teacher = build_model(student_cfg)
    centre = build_centre(student_cfg, teacher)
    with torch.no_grad():
        output = teacher({"rgb": torch.rand(2, 3, 4, 32, 32)})
    assert all(tokens.mean(0).abs().max() < 1e-5 for tokens in centre(output).mcts)
    assert sum(tokens[0].numel() for tokens in output.mcts) == centre.mean.numel()
