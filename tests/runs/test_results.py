"""results.json: what a split scored, means of splits, and files that are whole or refused."""

import json

import numpy as np
import pytest
import torch

from transm3e.data.annotations import MUSCLES
from transm3e.errors import UserError
from transm3e.metrics import average_precision, mean_average_precision
from transm3e.runs.results import (
    DRAWS,
    draws_std,
    mAP_of_predictions,
    read_results,
    split_result,
    summarise,
    with_draws,
    write_results,
)


@pytest.fixture
def drawn():
    rng = np.random.default_rng(0)
    labels = (rng.random((40, 20)) < 0.4).astype(np.uint8)
    labels[:, MUSCLES.index("wrists")] = 0
    return (rng.normal(size=(40, 20)) + labels).astype(np.float32), labels


def test_split_result_holds_what_the_metric_says(drawn):
    scores, labels = drawn
    result = split_result(torch.tensor(scores), torch.tensor(labels), [("a.mp4", "no video stream")])
    ap = average_precision(scores, labels)
    assert result["mAP"] == mean_average_precision(scores, labels)
    assert result["num_clips"] == 40
    assert result["per_muscle"]["wrists"] is None
    assert result["per_muscle"]["chest"] == ap[MUSCLES.index("chest")]
    assert result["positives"] == dict(zip(MUSCLES, labels.sum(axis=0).tolist(), strict=True))
    assert result["failed_clips"] == [{"path": "a.mp4", "reason": "no video stream"}]
    assert "reason" not in result


def test_random_scores_are_many_draws_and_a_lucky_one_does_not_count():
    """The only clip of a muscle comes first in one of N draws, which is worth most of 100 / muscles points of mAP."""
    labels = np.zeros((80, 20), np.uint8)
    labels[0, 0] = labels[:20, 1] = labels[:40, 2] = 1
    scores = np.random.default_rng(0).random((80, 20))
    scores[0, 0] = 2
    one = split_result(scores, labels)
    assert one["per_muscle"][MUSCLES[0]] == 1
    result = with_draws(one, labels, (0, 1))
    assert result == with_draws(one, labels, (0, 1)) != with_draws(one, labels, (1, 1))
    draws = result["draws"]
    assert draws["number"] == DRAWS
    assert mAP_of_predictions(result) == draws["predictions"] == one["mAP"] == mAP_of_predictions(one)
    assert draws["low"] < result["mAP"] < draws["high"] < one["mAP"]
    assert result["mAP"] == pytest.approx(np.mean([ap for ap in result["per_muscle"].values() if ap is not None]))
    harmonic = sum(1 / k for k in range(1, 81))
    expected = np.mean([(harmonic + (p - 1) / 79 * (80 - harmonic)) / 80 for p in (1, 20, 40)])
    assert result["mAP"] == pytest.approx(expected, abs=4 * draws["std"] / np.sqrt(DRAWS))
    empty = split_result(np.zeros((2, 20)), np.zeros((2, 20)))
    assert with_draws(empty, np.zeros((2, 20)), (0,)) == empty


def test_the_spread_of_a_mean_of_splits_is_that_of_splits_drawn_each_by_itself():
    splits = {"known_val": {"draws": {"std": 0.03}}, "new_val": {"draws": {"std": 0.04}}, "new_test": {"mAP": 0.5}}
    assert draws_std(splits, "new_val") == 0.04
    assert draws_std(splits, "mean_val") == pytest.approx(0.025)
    assert [draws_std(splits, name) for name in ("new_test", "mean_test", "known_test")] == [None] * 3


@pytest.mark.parametrize(
    ("clips", "failed", "reason"),
    [
        (0, [], "the split has no clips"),
        (0, [("a", "b")] * 3, "all 3 clips failed"),
        (4, [], "none of the 4 clips has a muscle"),
    ],
)
def test_what_cannot_be_scored_is_none_with_a_reason(clips, failed, reason):
    result = split_result(np.zeros((clips, 20)), np.zeros((clips, 20)), failed)
    assert result["mAP"] is None
    assert set(result["per_muscle"].values()) == {None}
    assert set(result["positives"].values()) == {0}
    assert result["reason"] == reason


def test_an_evaluation_without_clips_needs_no_width():
    for empty in (np.zeros((0, 0)), torch.zeros(0, 20), []):
        assert split_result(empty, empty, [("a", "b")])["reason"] == "all 1 clips failed"
    with pytest.raises(ValueError, match=r"allowed: \(5 clips, 20\)"):
        split_result(np.zeros((0, 0)), np.zeros((5, 20)))
    with pytest.raises(ValueError, match="scores have shape"):
        split_result(np.float64(0), np.float64(0))


def test_split_result_refuses_other_shapes_and_nan(drawn):
    scores, labels = drawn
    with pytest.raises(ValueError, match=r"scores have shape \(39, 20\)"):
        split_result(scores[:39], labels)
    with pytest.raises(ValueError, match=r"labels have shape \(40, 19\)"):
        split_result(scores, labels[:, :19])
    scores[3, 4] = np.nan
    with pytest.raises(UserError, match="clip 3, muscle 4"):
        split_result(scores, labels)


def test_summarise_means_pairs_and_leaves_gaps():
    splits = {"known_val": {"mAP": 0.9}, "new_val": {"mAP": 0.5}, "known_test": {"mAP": 0.8}, "new_test": {"mAP": None}}
    summary = summarise(splits)
    assert summary == {"splits": splits, "mean_val": pytest.approx(0.7), "mean_test": None}
    assert summarise({"known_test": {"mAP": 0.0}})["mean_test"] is None
    assert summarise({"known_test": {"mAP": 0.0}, "new_test": {"mAP": 0.0}})["mean_test"] == 0


def test_write_and_read_give_the_same(tmp_path, drawn):
    results = {"run": {"name": "x"}, **summarise({"known_val": split_result(*drawn)})}
    write_results(tmp_path / "results.json", results)
    text = (tmp_path / "results.json").read_text()
    assert read_results(tmp_path / "results.json") == results
    assert text.index('"mean_test"') < text.index('"mean_val"') < text.index('"run"')
    assert text.endswith("}\n")


def test_nan_is_not_written_and_an_older_file_stays(tmp_path):
    file = tmp_path / "results.json"
    write_results(file, summarise({}))
    before = file.read_bytes()
    with pytest.raises(ValueError, match="JSON compliant"):
        write_results(file, {"splits": {"known_val": {"mAP": float("nan")}}})
    assert file.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"splits": {"known_val"', "is damaged"),
        ('{"splits": {"known_val": {"mAP": NaN}}}', "NaN is not JSON"),
        ("[]", "no object 'splits'"),
        ('{"splits": {"val": {"mAP": 0.5}}}', "no object 'run' at the top"),
        ('{"run": {}, "splits": {"val": {"mAP": 0.5}}}', "unknown split 'val', allowed: train, known_val"),
        ('{"run": {"target": "x"}, "splits": {}}', "its target is neither muscles nor activity"),
        ('{"run": {"target": "activity"}, "splits": {"new_val": {"mAP": 0.5}}}', r"splits.new_val.top1 is not null"),
        (
            '{"run": {}, "splits": {"known_val": {"mAP": 76.7}}}',
            r"splits.known_val.mAP is not null or a number in 0..1",
        ),
        ('{"run": {}, "splits": {"known_val": {"mAP": true}}}', r"splits.known_val.mAP"),
        ('{"run": {}, "splits": {"known_val": {}}}', r"splits.known_val.mAP"),
        ('{"run": {}, "splits": {}, "mean_val": "high"}', "mean_val is not null"),
    ],
)
def test_damaged_files_are_refused_in_one_line(tmp_path, text, message):
    file = tmp_path / "results.json"
    file.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        read_results(file)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_every_truncated_file_is_refused(tmp_path):
    write_results(tmp_path / "whole.json", summarise({"known_val": {"mAP": 0.5}}))
    whole = (tmp_path / "whole.json").read_bytes()
    for length in range(len(whole) - 2):
        (tmp_path / "cut.json").write_bytes(whole[:length])
        with pytest.raises(UserError):
            read_results(tmp_path / "cut.json")
    assert json.loads(whole)["mean_val"] is None


def test_bytes_that_are_no_text_and_missing_files(tmp_path):
    (tmp_path / "results.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="damaged"):
        read_results(tmp_path / "results.json")
    with pytest.raises(UserError, match="No such file"):
        read_results(tmp_path / "none.json")
