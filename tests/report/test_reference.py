"""An execution against a reference: what deviates and when, by hand."""

import numpy as np
import pytest

from transm3e.data.annotations import MUSCLES, Clip, table_from_clips
from transm3e.errors import UserError
from transm3e.report.overlay import ScoresOverTime
from transm3e.report.reference import compare, expected_of, mean_of, summary


def execution(scores, columns=MUSCLES[:3]):
    starts = np.arange(len(scores), dtype=float)
    return ScoresOverTime(starts, starts + 2, np.array(scores, np.float32), columns)


def test_deviations_are_named_with_their_times_largest_first():
    """Neck: expected, absent but for the third window. Chest: not expected, there from the second on. Shoulder: as it is."""
    found = compare(
        execution([[0.0, 0.1, 0.9], [0.1, 0.9, 0.9], [0.6, 0.8, 0.9], [0.1, 0.8, 0.9]]),
        {"neck_and_head": 1.0, "chest": 0.0, "shoulder": 1.0},
        0.5,
        0.5,
    )
    assert [(d.muscle, d.verdict) for d in found] == [
        ("neck_and_head", "missing"),
        ("chest", "unexpected"),
        ("shoulder", "as expected"),
    ]
    assert found[0].difference == pytest.approx(0.2 - 1)
    # Windows of 2 s each second: each stands for what is nearest to its centre.
    assert found[0].when == ((0, 2.5), (3.5, 5))
    assert found[1].when == ((1.5, 5),)
    assert found[2].when == ()
    assert summary(found) == "unexpected: chest; missing: neck and head"


def test_the_reference_is_the_mean_of_labels_or_of_good_executions():
    table = table_from_clips(
        [Clip("a", "train", "squat", (0, 1)), Clip("b", "new_val", "squat", (0,)), Clip("c", "train", "jump", (2,))]
    )
    expected = expected_of(table, "squat", "clips.csv")
    assert [expected[muscle] for muscle in MUSCLES[:3]] == [1, 0.5, 0]
    with pytest.raises(UserError, match=r"^clips.csv has no activity plank; allowed: jump, squat$"):
        expected_of(table, "plank", "clips.csv")
    # Each execution counts once, however long it is.
    means = mean_of([execution([[0, 0, 1]]), execution([[1, 0, 1]] * 3)])
    assert means == {"neck_and_head": 0.5, "chest": 0, "shoulder": 1}
