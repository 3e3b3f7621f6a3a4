"""Ensembles: scores averaged by clip, the report of a run, and one line for whatever does not fit."""

from __future__ import annotations

import importlib.util
import json
import shutil

import numpy as np
import pytest

from transm3e.config.targets import MUSCLE_TARGET
from transm3e.data.annotations import MUSCLES
from transm3e.errors import UserError
from transm3e.metrics import mean_average_precision
from transm3e.report.activity_figure import activity_result
from transm3e.report.ensemble import build_ensemble, read_member
from transm3e.report.run import score_split
from transm3e.report.scores import read_predictions, write_predictions
from transm3e.runs.results import read_results, summarise, write_results

SPLITS = ("known_val", "new_val", "known_test", "new_test")
CLIPS = 12
WIDTH = 20
ACTIVITIES = ("jump", "squat", "plank", "row", "press", "twist", "lunge")


def labels_of(split):
    return (np.random.default_rng(SPLITS.index(split)).random((CLIPS, WIDTH)) < 0.4).astype(np.uint8)


@pytest.fixture
def make(tmp_path):
    """make("a", seed, ...) -> the folder of an evaluated run; its clips stand in an order of their own."""

    def make(name, seed, splits=SPLITS[:2], dataset="MuscleSynth", clips=None, labels=labels_of, failed=(), **facts):
        rng, folder, scored = np.random.default_rng(seed), tmp_path / name, {}
        (folder / "predictions").mkdir(parents=True)
        paths = [f"v/{i}.mp4" for i in range(CLIPS)] if clips is None else clips
        for split in splits:
            order = rng.permutation(len(paths))
            scores, truth = rng.random((len(paths), WIDTH), dtype=np.float32), labels(split)[order]
            named = [paths[i] for i in order]
            write_predictions(folder / "predictions" / f"{split}.npz", scores, truth, named, split)
            scored[split] = score_split(MUSCLE_TARGET, scores, truth, MUSCLES, failed, 0.05)
        run = {"name": name, "id": f"id{seed}", "eval_id": f"eval{seed}", "dataset": dataset, "table": "t", **facts}
        write_results(folder / "results.json", {"run": run, **summarise(scored)})
        return folder

    return make


@pytest.fixture
def make_activities(tmp_path):
    """The same for a run that predicts activities; each clip of new_val shows one of them."""

    def make_activities(name, seed, activities=ACTIVITIES):
        folder = tmp_path / name
        (folder / "predictions").mkdir(parents=True)
        scores = np.random.default_rng(seed).random((CLIPS, len(activities)), dtype=np.float32)
        labels = np.eye(len(activities), dtype=np.uint8)[np.arange(CLIPS) % len(activities)]
        clips, file = [f"v/{i}.mp4" for i in range(CLIPS)], folder / "predictions" / "new_val.npz"
        write_predictions(file, scores, labels, clips, "new_val", activities)
        splits = summarise({"new_val": activity_result(scores, labels, activities)}, "top1")
        write_results(
            folder / "results.json", {"run": {"name": name, "dataset": "MuscleSynth", "target": "activity"}, **splits}
        )
        return folder

    return make_activities


@pytest.fixture
def tool(repo, capsys):
    """Calls tools/ensemble.py; returns (status, stdout, stderr)."""
    spec = importlib.util.spec_from_file_location("ensemble_tool", repo / "tools" / "ensemble.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def call(*words):
        try:
            status = module.main([str(word) for word in words])
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()

    return call


def by_clip(folder, split):
    found = read_predictions(folder / "predictions" / f"{split}.npz")
    return dict(zip(found.clips.tolist(), found.scores.astype(np.float64), strict=True))


def test_scores_are_the_weighted_mean_of_each_clip_and_the_report_is_a_runs(make, tool, tmp_path):
    runs = [make("joint", 1, SPLITS), make("bone", 2, SPLITS), make("motion", 3, SPLITS[:3], "musclesynth")]
    weights, out = (0.6, 0.6, 0.4), tmp_path / "late fusion"
    status, shown, err = tool(*runs, "--weights", *weights, "--out", out)
    assert status == 0
    assert err == "left out, as not all runs have it: new_test\n"
    results = read_results(out / "results.json")
    assert list(results["splits"]) == sorted(SPLITS[:3])
    for split in SPLITS[:3]:
        ours = read_predictions(out / "predictions" / f"{split}.npz")
        theirs = [by_clip(run, split) for run in runs]
        for clip, scores, truth in zip(ours.clips, ours.scores, ours.labels, strict=True):
            expected = sum(w * scores[clip] for w, scores in zip(weights, theirs, strict=True)) / sum(weights)
            np.testing.assert_allclose(scores, expected, rtol=1e-6)
            np.testing.assert_array_equal(truth, labels_of(split)[int(clip[2:-4])])
        assert results["splits"][split]["mAP"] == mean_average_precision(ours.scores, ours.labels)
        assert results["splits"][split]["num_clips"] == CLIPS
    about = results["run"]
    assert (about["name"], about["model"], about["target"]) == ("late fusion", "Ensemble", "muscles")
    assert [(m["id"], m["eval_id"]) for m in about["members"]] == [(f"id{i}", f"eval{i}") for i in (1, 2, 3)]
    assert [m["weight"] for m in about["members"]] == pytest.approx([0.375, 0.375, 0.25])
    assert (out / "muscles.png").read_bytes().startswith(b"\x89PNG")
    assert shown.startswith("MuscleSynth, mAP in percent\n")
    assert [line.split("  ")[0] for line in shown.splitlines()[3:7]] == [
        *("joint (37.5%)", "bone (37.5%)", "motion (25.0%)", "late fusion")
    ]


def test_copies_change_nothing_and_order_and_scale_of_weights_neither(make):
    members = [read_member(make(name, seed)) for name, seed in (("a", 1), ("b", 2), ("c", 1))]
    a, b, twin = members
    copies = build_ensemble([a, twin], "e")
    assert copies.results["splits"] == a.results["splits"]
    one, swapped = build_ensemble([a, b], "e", (3, 1)), build_ensemble([b, a], "e", (0.25, 0.75))
    assert one.results["splits"] == swapped.results["splits"]
    assert one.results["run"]["id"] == swapped.results["run"]["id"] != build_ensemble([a, b], "e").results["run"]["id"]
    assert build_ensemble([a, b], "e", (1e308, 1e308)).weights == (0.5, 0.5)


def test_a_path_that_stands_twice_and_clips_that_nobody_could_read(make):
    """Rows of one path are matched in their order; what all members miss is named in the ensemble's results."""
    clips, lost = ["a.mp4", "b.mp4", "a.mp4"], [("lost.mp4", "no video stream")]

    def same(split):
        return labels_of(split)[[0, 1, 0]]

    members = [read_member(make(name, i, clips=clips, labels=same, failed=lost)) for i, name in enumerate("xy")]
    found = build_ensemble(members, "e")
    for split in SPLITS[:2]:
        parts = [member.predictions[split] for member in members]
        rows = [np.flatnonzero(part.clips == "a.mp4") for part in parts]
        mean = sum(part.scores[at].astype(np.float64) for part, at in zip(parts, rows, strict=True)) / 2
        np.testing.assert_allclose(found.predictions[split].scores[rows[0]], mean, rtol=1e-6)
        assert found.results["splits"][split]["failed_clips"] == [{"path": "lost.mp4", "reason": "no video stream"}]


def test_an_ensemble_replaces_itself_and_can_be_a_member(make, tool, tmp_path, monkeypatch):
    monkeypatch.setattr("transm3e.report.run.muscle_bars", lambda results, file: file.write_text("drawn"))
    a, b, out = make("a", 1), make("b", 2), tmp_path / "e"
    assert tool(a, b, "--out", out)[0] == 0
    before = {file: file.read_bytes() for file in sorted(out.rglob("*")) if file.is_file()}
    assert tool(a, b, "--out", out)[0] == 0
    assert before == {file: file.read_bytes() for file in sorted(out.rglob("*")) if file.is_file()}
    assert tool(a, make("short", 3, ["known_val"]), "--out", out)[0] == 0
    assert [file.name for file in (out / "predictions").iterdir()] == ["known_val.npz"]
    assert tool(out, a, "--out", tmp_path / "both", "--name", "both")[0] == 0


def fewer(split):
    return labels_of(split)[:-1]


def flipped(split):
    return 1 - labels_of(split)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"dataset": "MuscleMap136"}, "differ in dataset (MuscleSynth, MuscleMap136)"),
        ({"labels": flipped}, "different labels for clips of known_val: v/"),
        ({"clips": [f"v/{i}.mp4" for i in range(CLIPS - 1)], "labels": fewer}, "clips of known_val: v/11.mp4 in one"),
        ({"splits": ["train"], "labels": lambda split: labels_of("new_val")}, "have no split in common"),
    ],
)
def test_runs_that_do_not_fit(make, tool, tmp_path, facts, message):
    assert_refused(tool(make("a", 1), make("b", 2, **facts), "--out", tmp_path / "e"), message, tmp_path / "e")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a", "b", "--weights", "1"], "--weights has 1 numbers for 2 runs"),
        (["a", "b", "--weights", "1", "0"], "--weights 0 is not allowed"),
        (["a", "b", "--weights", "nan", "1"], "--weights nan is not allowed"),
        (["a"], "two runs or more"),
        (["a", "a/../a"], "is named twice"),
        (["a", "none"], "is not the folder of an evaluated run"),
        (["a", "incomplete"], "the evaluation is incomplete"),
        (["a", "stale"], "results.json has 12 clips of new_val, predictions/new_val.npz 12 of known_val"),
    ],
)
def test_mistakes(make, tool, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("a", "b", "incomplete", "stale")):
        make(name, seed)
    (tmp_path / "incomplete" / "results.json").rename(tmp_path / "incomplete" / "missing_clips.csv")
    shutil.copy("stale/predictions/known_val.npz", "stale/predictions/new_val.npz")
    assert_refused(tool(*words, "--out", "e"), message, tmp_path / "e")


def test_nothing_else_is_overwritten(make, tool, tmp_path, monkeypatch):
    monkeypatch.setattr("transm3e.report.run.muscle_bars", lambda results, file: file.write_text("drawn"))
    runs = make("a", 1), make("b", 2)
    before = (runs[0] / "results.json").read_bytes()
    assert_refused(tool(*runs, "--out", runs[0]), "is one of the runs")
    other = make("c", 3)
    assert_refused(tool(*runs, "--out", other), "holds files that no ensemble wrote")
    assert_refused(tool(*runs, "--out", tmp_path), "holds files that no ensemble wrote")
    assert_refused(tool(*runs, "--out", other / "results.json"), "is a file")
    ours = tmp_path / "e"
    assert tool(*runs, "--out", ours)[0] == 0
    (ours / "notes.txt").write_text("mine")
    assert_refused(tool(*runs, "--out", ours), "notes.txt")
    assert (runs[0] / "results.json").read_bytes() == before


def test_runs_that_predict_activities(make, make_activities, tool, tmp_path):
    """Top-1 and top-5 in the place of mAP; runs of other activities do not fit."""
    runs, out = [make_activities("a", 1), make_activities("b", 2)], tmp_path / "e"
    status, shown, _ = tool(*runs, "--out", out)
    assert status == 0
    assert [line for line in shown.splitlines() if line.endswith("percent")] == [
        *("MuscleSynth, top-1 accuracy in percent", "MuscleSynth, top-5 accuracy in percent")
    ]
    found, result = read_predictions(out / "predictions" / "new_val.npz"), read_results(out / "results.json")
    hits = found.scores.argmax(axis=1) == found.labels.argmax(axis=1)
    assert found.columns == ACTIVITIES
    assert result["splits"]["new_val"]["top1"] == pytest.approx(hits.mean())
    assert (out / "activities.png").is_file()
    other = make_activities("c", 3, ("walk", *ACTIVITIES[1:]))
    assert_refused(tool(runs[0], other, "--out", tmp_path / "f"), "score different classes in new_val: jump, walk")
    assert_refused(tool(runs[0], make("d", 4), "--out", tmp_path / "f"), "differ in target (activity, muscles)")


def test_foreign_failures_are_named(make):
    folder = make("a", 1)
    results = json.loads((folder / "results.json").read_text())
    results["splits"]["new_val"]["failed_clips"] = ["lost.mp4"]
    (folder / "results.json").write_text(json.dumps(results))
    with pytest.raises(UserError, match=r"splits\.new_val\.failed_clips is not a list of path and reason"):
        build_ensemble([read_member(folder), read_member(make("b", 2))], "e")


def assert_refused(outcome, message, untouched=None):
    status, shown, err = outcome
    assert (status, shown) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert untouched is None or not untouched.exists()
