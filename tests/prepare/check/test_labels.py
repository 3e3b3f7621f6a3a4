from dataclasses import replace

import numpy as np

from transm3e.data.annotations import MUSCLES, SPLITS, Clip, table_from_clips
from transm3e.prepare.check import activity_problems, label_statistics, summary
from transm3e.prepare.check.labels import label_notes, muscle_notes


def random_clips(seed=0):
    rng = np.random.default_rng(seed)
    return [
        Clip(f"{i}.mp4", str(rng.choice(SPLITS)), f"act {i % 7}", tuple(np.flatnonzero(rng.random(20) < 0.3).tolist()))
        for i in range(60)
    ]


def test_leakage_and_known_activities_that_train_lacks():
    rows = [
        ("train", "squat"),
        ("known_val", "squat"),
        ("known_val", "jump"),
        ("new_val", "Jump"),
        ("new_test", "SQUAT"),
    ]
    table = table_from_clips([Clip(f"{i}.mp4", split, activity, ()) for i, (split, activity) in enumerate(rows)])
    found = {(problem.split, problem.reason) for problem in activity_problems(table)}
    assert found == {
        ("new_val", "leakage: new activity 'jump' also occurs in known_val"),
        ("new_test", "leakage: new activity 'squat' also occurs in train, known_val"),
        ("known_val", "known activity 'jump' never occurs in train"),
    }
    fine = [("train", "squat"), ("known_test", "squat"), ("new_val", "row"), ("new_test", "row")]
    assert activity_problems(table_from_clips([Clip(f"{a}{s}", s, a, ()) for s, a in fine])) == []


def test_notes_on_labels_that_differ_or_are_empty():
    rows = [("squat", (1, 2)), ("Squat", (1, 3)), ("row", (4,)), ("row", (4,)), ("rest", ())]
    table = table_from_clips([Clip(f"{i}.mp4", "train", a, m) for i, (a, m) in enumerate(rows)])
    assert [note.reason for note in label_notes(table)] == [
        "activity 'rest' (clips: 1) carries no muscle",
        "activity 'squat' (clips: 2) carries 2 different sets of muscles: they differ in shoulder, biceps",
    ]


def test_summary_counts_as_the_labels_do():
    clips = random_clips()
    lines = {
        line.split()[0]: [int(n) for n in line.split()[1:]]
        for line in summary(table_from_clips(clips)).splitlines()[1:]
    }
    for column, split in enumerate(SPLITS):
        chosen = [clip for clip in clips if clip.split == split]
        assert lines["clips"][column] == len(chosen)
        assert lines["activities"][column] == len({clip.activity for clip in chosen})
        for index, name in enumerate(MUSCLES):
            assert lines[name][column] == sum(index in clip.muscles for clip in chosen)


def test_statistics_are_those_of_plain_loops():
    clips = [clip for clip in random_clips(1) if clip.activity != "act 6" or clip.split.startswith("new")]
    statistics = label_statistics(table_from_clips(clips))
    known = {clip.activity for clip in clips if not clip.split.startswith("new")}
    names = sorted({clip.activity for clip in clips})
    assert statistics.activities.tolist() == names
    assert statistics.new.tolist() == [name not in known for name in names]
    assert statistics.new.any()
    muscles = {name: {m for clip in clips if clip.activity == name for m in clip.muscles} for name in names}
    for muscle in range(20):
        for column, side in enumerate((True, False)):
            mine = [name for name in names if (name in known) == side]
            assert statistics.activity_labels[muscle, column] == sum(muscle in muscles[name] for name in mine)
            of_side = [clip for clip in clips if clip.activity in mine]
            assert statistics.clip_labels[muscle, column] == sum(muscle in clip.muscles for clip in of_side)
    assert statistics.clips.tolist() == [sum(clip.activity == name for clip in clips) for name in names]
    assert statistics.muscles.sum() == len(names)
    assert statistics.muscles[len(muscles["act 6"]), 1] == 1


def test_muscles_that_cannot_be_learned_or_scored_are_named():
    others = set(range(3, 20))  # in half of the clips of each split
    rows = [("train", {0, *others}), ("train", {0}), ("new_val", {0, 2, *others}), ("new_val", {0, 2})]
    rows += [("known_test", {0, 1, *others}), ("known_test", {0})]
    clips = [Clip(f"{i}.mp4", split, "a", tuple(sorted(muscles))) for i, (split, muscles) in enumerate(rows)]
    assert list(map(str, muscle_notes(table_from_clips(clips)))) == [
        "every clip carries: neck_and_head",
        "train: no clip of this split carries: chest, shoulder",
        "new_val: no clip of this split carries: chest",
        "new_val: every clip of this split carries: shoulder",
        "new_val: train never shows, but clips here carry: shoulder",
        "known_test: no clip of this split carries: shoulder",
        "known_test: train never shows, but clips here carry: chest",
    ]
    assert str(muscle_notes(table_from_clips(clips[1:2]))[0]).startswith("no clip carries: chest, shoulder, biceps")
    assert muscle_notes(replace(table_from_clips(clips), labels=np.zeros((6, 0), np.uint8))) == []
