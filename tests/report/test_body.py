"""The body map: every region is there, within the person, told apart by its colour."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from transm3e.data.annotations import MUSCLES
from transm3e.errors import UserError
from transm3e.report.body import DIFFERENCE, SCORE, body_figure, score_scale, strongest
from transm3e.report.body_shape import VIEWS, body, outlines

PIXELS = 10  # per unit


def mask(curve):
    image = np.zeros((1040, 600), np.uint8)
    return cv2.fillPoly(image, [np.round((curve + np.array([30, 1])) * PIXELS).astype(np.int32)], 1).astype(bool)


def test_every_muscle_is_drawn_and_no_other():
    assert set(outlines("front")) | set(outlines("back")) == set(MUSCLES)


@pytest.mark.parametrize("view", VIEWS)
def test_regions_lie_on_the_body_and_do_not_overlap(view):
    person, taken = mask(body()), np.zeros((1040, 600), int)
    for muscle, curves in outlines(view).items():
        region = np.any([mask(curve) for curve in curves], axis=0)
        assert region.sum() > 2 * PIXELS**2, muscle
        assert (region & ~person).sum() <= 0.04 * region.sum(), muscle
        taken += region
        assert (region == region[:, ::-1]).mean() > 0.995, f"{muscle} is not symmetric"
    assert (taken > 1).sum() <= 0.01 * (taken > 0).sum()


def test_figure_tells_values_apart_and_appears_whole(tmp_path):
    for suffix in ("png", "svg", "pdf"):
        body_figure({"a": {"chest": 0.9}, "b": {}}, tmp_path / f"x.{suffix}", "costs $5")
        assert (tmp_path / f"x.{suffix}").stat().st_size > 5000
    svg = (tmp_path / "x.svg").read_text()
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    assert to_hex(colormaps[SCORE.colours](0.9)) in svg
    with pytest.raises(UserError, match=r"unknown suffix; allowed: \.png, \.pdf, \.svg"):
        body_figure({"a": {}}, tmp_path / "x.bmp")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.pdf", "x.png", "x.svg"]


@pytest.mark.parametrize("scale", [SCORE, DIFFERENCE])
def test_colours_differ_in_lightness(scale):
    """For prints in grey and all colour vision: lightness changes evenly (from the middle on, where values have a sign)."""
    from matplotlib import colormaps

    lightness = colormaps[scale.colours](np.linspace(0, 1, 21))[:, :3] @ [0.299, 0.587, 0.114]
    steps = np.diff(lightness)
    assert (steps < 0).all() if scale is SCORE else (steps[:10] > 0).all() and (steps[10:] < 0).all()


def test_scores_of_a_softmax_are_shown_up_to_the_highest():
    """Their sum is 1 over 20 muscles: on a scale to 1 every body would look idle."""
    assert score_scale([[0.3, 0.9], [0.1, 0.2]]) is SCORE
    assert score_scale([]) is SCORE
    shares = score_scale([[0.14, 0.86], [0.3, 0.7]])
    assert (shares.low, shares.high) == (0, 0.86)
    assert "sum" in shares.label


def test_strongest_counts_absolute_values():
    assert strongest({"chest": 0.1, "biceps": -0.7, "calves": 0.7}, 2) == [("biceps", -0.7), ("calves", 0.7)]
