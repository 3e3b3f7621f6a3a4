"""The vote itself: thresholds, one ballot per source, and agreement against formulas written another way."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, jaccard_score

from transm3e.data.annotations import MUSCLES
from transm3e.errors import UserError
from transm3e.prepare.votes.tables import Match, SourceRow, Vocabulary
from transm3e.prepare.votes.vote import (
    ballot,
    count_votes,
    fleiss_kappa,
    mean_jaccard,
    parse_threshold,
    votes_needed,
)

REGIONS = st.frozensets(st.integers(0, len(MUSCLES) - 1))
WORDS = Vocabulary({**{name: (i,) for i, name in enumerate(MUSCLES)}, "psoas": (), "legs": None})


def match(source, *primary, secondary=(), activity="squat", how="same"):
    return Match(activity, SourceRow(source, "exercise", primary, tuple(secondary), "table.csv:2"), how)


def vote(*matches, copies=None, **options):
    (only,) = count_votes(["squat"], matches, WORDS, copies or {}, **options)
    return only


def region_names(indices):
    return [MUSCLES[index] for index in indices]


def test_one_of_three_sources_decides_by_the_papers_threshold_alone():
    assert [votes_needed(n, "two") for n in range(8)] == [1, 1, 1, 2, 2, 2, 3, 3]
    assert [votes_needed(n, "half") for n in range(8)] == [1, 1, 1, 1, 2, 2, 3, 3]
    assert [votes_needed(n, "majority") for n in range(8)] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert [votes_needed(n, 3) for n in (1, 10)] == [3, 3]


def test_other_thresholds_are_refused():
    for bad in ["0", "-1", "1.5", "third", "", 0, True]:
        with pytest.raises(UserError, match="two, half, majority or a number"):
            parse_threshold(bad)


def test_regions_are_set_at_half_and_borderline_ones_are_named():
    names = [match("a", "quadriceps", "gluteus"), match("b", "quadriceps", "gluteus"), match("c", "quadriceps")]
    result = vote(*names, match("d", "quadriceps", "calves"))
    assert (len(result.ballots), result.needed) == (4, 2)
    assert region_names(result.regions) == ["quadriceps", "gluteus"]
    assert region_names(result.borderline) == ["calves", "gluteus"]
    assert result.votes.sum() == 7


def test_by_default_a_bad_row_of_three_sources_sets_nothing():
    curls = [match("a", "forearms"), match("b", "forearms"), match("bad", "hamstring", "forearms")]
    assert region_names(vote(*curls).regions) == ["forearms"]
    assert set(region_names(vote(*curls, threshold="half").regions)) == {"forearms", "hamstring"}


def test_a_source_has_one_vote_however_often_it_lists_the_activity():
    variants = [match("many", "calves") for _ in range(5)]
    result = vote(*variants, match("b", "quadriceps"), match("c", "quadriceps"), match("d", "quadriceps"))
    assert result.votes[MUSCLES.index("calves")] == 1
    assert region_names(result.regions) == ["quadriceps"]


def test_copies_vote_with_their_original():
    pages = [match("original", "chest"), match("copy", "chest"), match("other", "triceps")]
    assert len(vote(*pages).ballots) == 3
    together = vote(*pages, copies={"copy": "original"})
    assert set(together.ballots) == {"original", "other"}
    assert together.votes[MUSCLES.index("chest")] == 1


def test_who_names_no_muscle_has_not_spoken_and_a_muscle_outside_the_regions_is_named():
    result = vote(match("vague", "legs"), match("empty"), match("outside", "psoas"), match("plain", "calves"))
    assert set(result.ballots) == {"outside", "plain"}
    assert set(result.silent) == {"vague", "empty"}
    assert region_names(result.regions) == ["calves"]


def test_primary_leaves_secondary_muscles_out():
    only = match("a", "chest", secondary=["triceps"])
    assert region_names(vote(only).regions) == ["chest", "triceps"]
    assert region_names(vote(only, muscles="primary").regions) == ["chest"]


def test_without_enough_sources_or_votes_there_is_no_region_and_a_reason():
    few = vote(match("a", "chest"), min_sources=2)
    assert (few.regions, few.borderline, few.reason) == ((), (), "too few sources name muscles: 1")
    apart = vote(match("a", "chest"), match("b", "calves"), threshold="majority")
    assert (apart.regions, apart.reason) == ((), "no region has 2 of 2 votes")
    assert vote().regions == ()
    assert vote().votes.shape == (20,)


@settings(deadline=None, max_examples=40)
@given(st.lists(REGIONS, min_size=1, max_size=6))
def test_a_ballot_holds_what_half_of_the_rows_name(rows):
    held = ballot(rows)
    for index in range(len(MUSCLES)):
        assert (index in held) == (np.mean([index in row for row in rows]) >= 0.5)
    assert held == ballot(rows + rows)


@settings(deadline=None, max_examples=40)
@given(st.lists(REGIONS, min_size=2, max_size=5))
def test_agreement_equals_scikit_learn_over_pairs_of_sources(rows):
    ballots = np.array([[index in row for index in range(len(MUSCLES))] for row in rows], np.uint8)
    # Fleiss' kappa is Cohen's over all ordered pairs of raters together: both raters then have the same margins.
    first, second = (np.concatenate(part) for part in zip(*permutations(ballots, 2), strict=True))
    kappa = fleiss_kappa(ballots)
    if kappa is None:
        assert len(np.unique(ballots)) == 1
    else:
        assert kappa == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)
    pairs = [jaccard_score(a, b, zero_division=1.0) for a, b in permutations(ballots, 2)]
    assert mean_jaccard(ballots) == pytest.approx(np.mean(pairs), abs=1e-12)


def test_one_source_agrees_with_nobody():
    assert mean_jaccard(np.ones((1, 20), np.uint8)) is None
    assert fleiss_kappa(np.ones((1, 20), np.uint8)) is None
