"""The report of a run: results.json last and complete, figures, CSV of video scores, the table of several."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from transm3e.data.types import FailedClip
from transm3e.engine.evaluate import ScoredSplit
from transm3e.errors import UserError
from transm3e.metrics import mean_average_precision
from transm3e.report import run as report
from transm3e.report.run import final_table, refuse_missing, split_scores, validation, write_report
from transm3e.report.scores import read_predictions
from transm3e.report.videos import write_video_scores
from transm3e.runs.plan import plan
from transm3e.runs.results import read_results

OWNER = {"name": "a", "id": "0123456789", "table": "t"}
SPLITS = ("known_val", "new_val", "known_test", "new_test")


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text("NUM_GPUS: 0\nTRAIN: {DATASET: MuscleSynth}\n")
    [run] = plan(["a.yaml"], ["TEST.ALLOW_MISSING", True])
    run.folder.mkdir(parents=True)
    return run


def predictions(seed, clips=12, failed=()):
    rng = np.random.default_rng(seed)
    labels = (rng.random((clips, 20)) < 0.4).astype(np.uint8)
    scores = rng.random((clips, 20), dtype=np.float32)
    return ScoredSplit(np.arange(clips), [f"v/{i}.mp4" for i in range(clips)], scores, labels, list(failed))


def nothing(failed=()):
    empty = np.empty(0, np.int64)
    return ScoredSplit(empty, [], np.empty((0, 0), np.float32), np.empty((0, 0), np.uint8), list(failed))


def checkpoint(run):
    progress = {
        "epoch": 2,
        "history": [{"epoch": e, "loss": 1 / e, "known_val": 0.1 * e, "failed_clips": 1} for e in (1, 2)],
        "failed": {"broken.mp4": "truncated"},
    }
    path = run.folder / "w.pyth"
    torch.save({"model_state": {}, "progress": progress}, path)
    return path


def test_a_split_without_positives_has_no_score_while_training():
    known = predictions(0)
    scores = split_scores({"known_val": known, "new_val": nothing()})
    assert scores == {"known_val": mean_average_precision(known.scores, known.labels)}


def test_thresholds_are_tuned_on_validation_and_applied_to_test(run):
    scored = {split: predictions(i) for i, split in enumerate(SPLITS)}
    write_report(run, OWNER, checkpoint(run), scored)
    saved = json.loads((run.folder / "thresholds.json").read_text())
    assert list(saved) == ["tuned_on", "thresholds", "validation", "known_test", "new_test"]
    scores, labels = (np.concatenate([getattr(scored[s], name) for s in SPLITS[:2]]) for name in ("scores", "labels"))
    for c, (muscle, threshold) in enumerate(saved["thresholds"].items()):
        reached = f1_score(labels[:, c], scores[:, c] >= threshold)
        assert saved["validation"]["F1"][muscle] == pytest.approx(reached)
        on_test = f1_score(scored["new_test"].labels[:, c], scored["new_test"].scores[:, c] >= threshold)
        assert saved["new_test"]["F1"][muscle] == pytest.approx(on_test)
    write_report(run, OWNER, checkpoint(run), {"new_test": scored["new_test"]})
    assert not (run.folder / "thresholds.json").exists()


def test_an_evaluation_logs_its_scores_and_figures(run):
    run.cfg.defrost()
    run.cfg.LOG.BACKENDS = ["csv"]
    write_report(run, OWNER, checkpoint(run), {split: predictions(i) for i, split in enumerate(SPLITS)})
    lines = (run.folder / "metrics.csv").read_text().splitlines()
    assert any(line.startswith("2,Test/new_test/mAP,0.") for line in lines)
    assert sum(line.startswith("2,Test/known_val/AP/") for line in lines) == 20


def test_validation_tells_the_loss_and_the_precision_of_each_muscle():
    known = replace(predictions(0), loss=0.25)
    found = validation({"known_val": known, "new_val": nothing()})
    assert found["known_val/loss"] == 0.25
    aps = [value for name, value in found.items() if name.startswith("known_val/AP/")]
    assert np.mean(aps) == pytest.approx(found["known_val"])
    assert not any(name.startswith("new_val") for name in found)


def test_the_report_is_complete(run):
    lost = FailedClip(3, "v/lost.mp4", "no video stream")
    scored = {split: predictions(i, failed=[lost]) for i, split in enumerate(SPLITS)}
    write_report(run, OWNER, checkpoint(run), scored)
    results = read_results(run.folder / "results.json")
    about = results["run"]
    assert {key: about[key] for key in OWNER} == OWNER
    assert (about["eval_id"], about["model"], about["dataset"]) == (run.eval_id, "TransM3E", "MuscleSynth")
    assert (about["seed"], about["epoch"]) == (0, 2)
    assert about["checkpoint"].endswith("w.pyth")
    assert about["failed_training_clips"] == [{"path": "broken.mp4", "reason": "truncated"}]
    for split, p in scored.items():
        assert results["splits"][split]["mAP"] == mean_average_precision(p.scores, p.labels)
        assert results["splits"][split]["failed_clips"] == [{"path": "v/lost.mp4", "reason": "no video stream"}]
        kept = read_predictions(run.folder / "predictions" / f"{split}.npz")
        np.testing.assert_array_equal(kept.scores, p.scores)
    assert results["mean_val"] == pytest.approx(np.mean([results["splits"][s]["mAP"] for s in SPLITS[:2]]))
    for figure in ("muscles.png", "training.png"):
        assert (run.folder / figure).read_bytes().startswith(b"\x89PNG")


def test_without_leave_to_miss_clips_all_are_named_and_nothing_is_scored(run):
    strict = plan(["a.yaml"], ["OUTPUT_DIR", str(run.folder)])[0]
    lost = [FailedClip(i, f"v/{i}.mp4", "empty, quite") for i in range(5)]
    scored = {"known_val": predictions(0, failed=lost[:4]), "new_val": predictions(1, failed=lost[4:])}
    write_report(run, OWNER, checkpoint(run), scored)
    assert (run.folder / "results.json").exists()
    write_report(strict, OWNER, checkpoint(run), scored)
    assert not (run.folder / "muscles.png").exists()
    assert not (run.folder / "results.json").exists()
    assert (run.folder / "predictions" / "new_val.npz").is_file()
    rows = list(csv.reader((run.folder / "missing_clips.csv").open(encoding="utf-8")))
    splits = ["known_val"] * 4 + ["new_val"]
    assert rows[0] == ["split", "path", "reason"]
    assert rows[1:] == [[split, f"v/{i}.mp4", "empty, quite"] for i, split in enumerate(splits)]
    with pytest.raises(
        UserError, match=r"^a: 5 clip\(s\) could not be read.* v/0\.mp4: empty.*TEST\.ALLOW_MISSING True$"
    ):
        refuse_missing(strict, scored)
    refuse_missing(run, scored)
    whole = {"known_val": predictions(0)}
    refuse_missing(strict, whole)
    write_report(strict, OWNER, checkpoint(run), whole)
    assert not (run.folder / "missing_clips.csv").exists()


def test_random_scores_are_reported_as_means_of_many_draws(run):
    [random] = plan(["a.yaml"], ["MODEL.MODEL_NAME", "Random", "TRAIN.ENABLE", False])
    random.folder.mkdir(parents=True)
    scored = {split: predictions(i) for i, split in enumerate(SPLITS)}
    write_report(random, OWNER, None, scored)
    splits = read_results(random.folder / "results.json")["splits"]
    for split, p in scored.items():
        assert splits[split]["draws"]["predictions"] == mean_average_precision(p.scores, p.labels)
        assert splits[split]["mAP"] != splits[split]["draws"]["predictions"]
    assert splits["known_val"]["draws"]["std"] != splits["known_test"]["draws"]["std"]
    text = final_table([random])
    assert "mAP in percent (a: mean ± standard deviation of 200 draws)\n" in text
    assert f"{100 * splits['new_val']['mAP']:.1f} ± {100 * splits['new_val']['draws']['std']:.1f}" in text


def test_without_weights_or_clips_there_are_results_but_no_figures(run):
    write_report(run, OWNER, None, {"known_val": nothing([FailedClip(0, "a.mp4", "gone")])})
    results = read_results(run.folder / "results.json")
    assert (results["run"]["checkpoint"], results["run"]["epoch"]) == (None, None)
    assert results["run"]["failed_training_clips"] == []
    assert results["splits"]["known_val"]["mAP"] is None
    assert results["splits"]["known_val"]["reason"] == "all 1 clips failed"
    assert list(run.folder.glob("*.png")) == []


def test_results_come_last(run, monkeypatch):
    def fail(*_args):
        raise UserError("cannot write the figure")

    monkeypatch.setattr(report, "muscle_bars", fail)
    with pytest.raises(UserError, match="figure"):
        write_report(run, OWNER, None, {"known_val": predictions(0)})
    assert not (run.folder / "results.json").exists()


def test_scores_of_video_files(run, capsys):
    p = predictions(0, clips=2, failed=[FailedClip(2, "bad.mp4", "truncated")])
    p.paths[:] = ["0.mp4", "sub/1.mp4"]
    write_video_scores(run, p)
    assert capsys.readouterr().out == f"scores of 2 videos, 1 failed: {run.folder / 'scores.csv'}\n"
    with (run.folder / "scores.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert {"0.mp4", "sub/1.mp4", "bad.mp4"} <= {row[0] for row in rows}
    assert any("truncated" in row for row in rows)


def test_scores_go_to_the_file_that_is_named(run, tmp_path):
    [other] = plan(["a.yaml"], ["DEMO.OUTPUT_FILE", "mine.csv"])
    write_video_scores(other, predictions(0, clips=1))
    assert (tmp_path / "mine.csv").is_file()


def test_the_table_shows_what_was_asked_for_and_is_evaluated(run):
    assert final_table([run]) == ""
    write_report(run, OWNER, checkpoint(run), {split: predictions(i) for i, split in enumerate(SPLITS)})
    [other] = plan(["a.yaml"], ["RNG_SEED", 1])
    text = final_table([run, other])
    assert text.startswith("\nMuscleSynth, mAP in percent\n")
    assert f"  {run.folder / 'muscles.png'}\n" in text
    assert f"  {run.folder / 'training.png'}\n" in text
    mean = read_results(run.folder / "results.json")["mean_test"]
    assert f"{100 * mean:.1f}" in text
    assert str(other.folder) not in text


def test_the_table_has_the_runs_that_one_starts_from_above_it_each_once(run):
    step, unscored = (replace(plan(["a.yaml"], ["RNG_SEED", seed])[0], asked=False) for seed in (1, 2))
    last = replace(
        plan(["a.yaml"], ["RNG_SEED", 3])[0], name="student", starts=(step, replace(step, starts=()), unscored)
    )
    for each in (run, step, last):
        each.folder.mkdir(parents=True, exist_ok=True)
        write_report(each, OWNER, None, {split: predictions(i) for i, split in enumerate(SPLITS)})
    # What is done already is not in the list of runs, and still in the table.
    rows = [line.split()[0] for line in final_table([run, last]).splitlines()[4:7]]
    assert rows == [run.folder.name, step.folder.name, "student"]
    assert final_table([step]) == ""
