"""Result tables: values, marks and layout."""

from transm3e.report.table import results_table
from transm3e.runs.results import summarise


def results(**maps):
    return summarise({split: {"mAP": value} for split, value in maps.items()})


ROWS = [
    ("All Ones", results(known_val=0.285, new_val=0.284, known_test=0.283, new_test=0.289)),
    ("MViTv2-S", results(known_val=0.9871, new_val=0.54789, known_test=0.988, new_test=None)),
    ("TransM3E-S", results(known_val=0.98712, new_val=0.6404)),
]


def test_text_table():
    assert results_table(ROWS).splitlines() == [
        "model       known_val  new_val  mean_val  known_test  new_test  mean_test",
        "----------  ---------  -------  --------  ----------  --------  ---------",
        "All Ones        28.5     28.4      28.4        28.3      28.9       28.6",
        "MViTv2-S        98.7*    54.8      76.7        98.8*        -          -",
        "TransM3E-S      98.7*    64.0*     81.4*          -         -          -",
    ]


def test_random_scores_show_their_spread_and_values_stay_aligned():
    splits = {
        "known_val": {"mAP": 0.21, "draws": {"std": 0.016}},
        "new_val": {"mAP": 0.38, "draws": {"std": 0.03}},
        "known_test": {"mAP": 0.2},
    }
    rows = [("random", summarise(splits)), ("model", results(known_val=0.5, new_val=0.3, known_test=0.1))]
    assert results_table(rows).splitlines()[2:] == [
        "random  21.0 ± 1.6  38.0*± 3.0  29.5 ± 1.7       20.0*        -          -",
        "model   50.0*       30.0        40.0*            10.0         -          -",
    ]


def test_zero_is_a_value_and_missing_is_a_dash():
    line = results_table([("zero", results(known_val=0.0, new_val=None))]).splitlines()[-1]
    assert line.split() == ["zero", "0.0", "-", "-", "-", "-", "-"]


def test_100_is_more_than_99():
    text = results_table([("a", results(known_val=1.0)), ("b", results(known_val=0.999))])
    assert "100.0*" in text
    assert "99.9*" not in text


def test_labels_cannot_break_the_table_and_no_rows_are_a_header():
    assert results_table([("a\nc", results(known_val=0.5))]).splitlines()[2].startswith("a c ")
    assert len(results_table([]).splitlines()) == 2
