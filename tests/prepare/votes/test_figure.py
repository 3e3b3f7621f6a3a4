"""The figure of a vote: one cell per vote, one frame per region set, whatever the names."""

import cv2
import pytest
from matplotlib.patches import Rectangle

from transm3e.data.annotations import MUSCLES
from transm3e.errors import UserError
from transm3e.prepare.votes import figure as vote_figure
from transm3e.prepare.votes.vote import ActivityVote
from transm3e.report.figures import new_figure


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn, kept for a look inside."""
    drawn = []
    monkeypatch.setattr(vote_figure, "new_figure", lambda *size: drawn.append(new_figure(*size)) or drawn[-1])
    return drawn


def vote(activity, *ballots, enough=True):
    named = {f"source {i}": frozenset(regions) for i, regions in enumerate(ballots)}
    return ActivityVote(activity, named, (), max(1, len(ballots) // 2), enough)


def test_figures_shades_and_frames(tmp_path, figures):
    votes = [vote("push $up$_^", {1, 2}, {1, 4}, {1}, {1, 4}), vote("x" * 300, {17}, enough=False), vote("nobody")]
    vote_figure.vote_figure(votes, tmp_path / "votes.png")
    assert min(cv2.imread(str(tmp_path / "votes.png")).shape[:2]) > 300
    axes = figures[0].axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["push $up$_^  (2 of 4)", f"{'x' * 39}…  (1 of 1)", "nobody  (no source)"]
    assert [label.get_text() for label in axes.get_xticklabels()] == [name.replace("_", " ") for name in MUSCLES]
    cells = {(text.get_position()[1] - 0.5, text.get_position()[0] - 0.5): text.get_text() for text in axes.texts}
    assert cells == {(0, 1): "4", (0, 2): "1", (0, 4): "2", (1, 17): "1"}
    frames = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert sorted((int(frame.get_y()), int(frame.get_x())) for frame in frames) == [(0, 1), (0, 4)]
    shares = axes.collections[0].get_array()
    assert (shares[0, 1], shares[0, 2], shares[0, 4], shares[2].max()) == (1, 0.25, 0.5, 0)


def test_nothing_to_draw_and_an_unknown_suffix(tmp_path):
    with pytest.raises(UserError, match="no activity to draw"):
        vote_figure.vote_figure([], tmp_path / "votes.png")
    with pytest.raises(UserError, match="unknown suffix"):
        vote_figure.vote_figure([vote("a", {1})], tmp_path / "votes.gif")
    assert list(tmp_path.iterdir()) == []
