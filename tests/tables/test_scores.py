"""Mean, spread, differences and ranks of a table's scores."""

from __future__ import annotations

import statistics
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from transm3e.report.table import COLUMNS
from transm3e.tables.formats import Caption, comma_separated, latex, markdown
from transm3e.tables.scores import BEST, SECOND, RowScores, Score, _ranks

CAPTION = Caption("T", "S", "seeds 0 1")


def test_scores_are_mean_and_sample_deviation_of_the_seeds():
    score = Score((70.0, 71.0, 72.6), paper=71.0)
    assert score.mean == statistics.fmean(score.values)
    assert score.spread == statistics.stdev(score.values)
    assert (score.shown, score.difference) == ("71.2", 0.2)
    assert Score((70.0,), None).spread is None
    assert Score((70.0, 71.0), None, over_draws=(1.5, 2.5)).spread == 2.0
    assert Score((), 50.0).difference is None
    assert Score((70.0,), 60.0, comparable=False).difference is None


@given(st.lists(st.floats(0, 100).map("{:.1f}".format) | st.just(""), min_size=2))
def test_best_and_second_best_are_the_highest_shown(shown):
    ranks, values = _ranks(shown), sorted({float(text) for text in shown if text}, reverse=True)
    for text, rank in zip(shown, ranks, strict=True):
        if text and sum(map(bool, shown)) > 1:
            assert rank == {0: BEST, 1: SECOND}.get(values.index(float(text)), 0)
        else:
            assert rank == 0


def test_the_three_formats_show_the_same():
    scores = (Score((50.0, 52.0), 51.5, rank=BEST), Score((), 40.0), *(Score((), None) for _ in COLUMNS[2:]))
    rows = [RowScores("a_b | c%", scores, "2 of 2 runs")]
    assert "| a_b \\| c% | **51.0** ± 1.4 (51.5, -0.5) | - (40.0) | - |" in markdown(rows, None, CAPTION)
    assert r"a\_b | c\% & \textbf{51.0}$\pm$1.4 (51.5, -0.5) & - (40.0) & - &" in latex(rows, None, CAPTION)
    head, line = comma_separated(rows, None).splitlines()
    assert line.startswith("a_b | c%,51.00,1.41,51.50,-0.5,1,,,40.00,,,")
    assert len(head.split(",")) == len(line.split(","))


def test_a_table_without_scores_of_the_paper_does_not_mention_them():
    rows = [RowScores("a", tuple(Score((50.0,), None) for _ in COLUMNS), "1 of 1 runs")]
    without = replace(CAPTION, source="")
    for text in (markdown(rows, None, without), latex(rows, None, without)):
        assert "aper" not in text
        assert "mean ± standard deviation over seeds (seeds 0 1)" in text
    assert "Paper: S." in markdown(rows, None, CAPTION)
