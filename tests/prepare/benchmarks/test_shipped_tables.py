"""What is shipped for the benchmarks: draft labels, class lists, configs."""

import csv
from pathlib import Path

from transm3e.config import load_cfg
from transm3e.data.annotations import MUSCLES
from transm3e.prepare.benchmarks.facts import MUSCLEHMDB41, MUSCLEUCF90
from transm3e.prepare.benchmarks.tables import name_key, read_activities, read_classes, read_labels

ROOT = Path(__file__).resolve().parents[3]
ANNOTATIONS = ROOT / "datasets" / "annotations"
FILES = ("ucf101", "hmdb51")
SAME = {
    "PullUps": "pullup",
    "PushUps": "pushup",
    "Archery": "shoot_bow",
    "Biking": "ride_bike",
    "HorseRiding": "ride_horse",
    "GolfSwing": "golf",
    "Fencing": "fencing",
    "Punch": "punch",
    "Basketball": "shoot_ball",
    "Diving": "dive",
    "HandstandWalking": "handstand",
    "SoccerPenalty": "kick_ball",
    "WalkingWithDog": "walk",
    "BaseballPitch": "throw",
    "LongJump": "jump",
    "RockClimbingIndoor": "climb",
}


def draft(file):
    return read_labels(ANNOTATIONS / f"{file}_muscles_draft.csv", "draft")


def test_draft_and_class_list_name_every_official_class_once(shared):
    for file, count, clips in [("ucf101", 101, 13320), ("hmdb51", 51, 6766)]:
        official = {row["name"]: row for row in csv.DictReader((shared / f"data/classes/{file}_classes.csv").open())}
        classes, labels = read_classes(ANNOTATIONS / f"{file}_classes.csv"), draft(file)
        assert len(classes) == len({name_key(c.name) for c in classes}) == count
        assert sum(c.clips for c in classes) == clips
        assert {c.name for c in classes} == set(official) == set(labels.muscles) | set(labels.excluded)
        assert not set(labels.muscles) & set(labels.excluded)
        column = next(name for name in official[classes[0].name] if name.endswith("_new"))
        assert {c.name for c in classes if c.new} == {name for name, row in official.items() if row[column] == "1"}
        assert {c.name for c in classes if c.new} <= set(labels.muscles)


def test_the_draft_says_what_it_is_and_gives_a_reason_per_row():
    for file in FILES:
        text = (ANNOTATIONS / f"{file}_muscles_draft.csv").read_text(encoding="utf-8")
        assert "NOT the labels of the paper's authors" in text.splitlines()[0]
        rows = list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
        for row in rows:
            assert all(row[column] for column in ("activity", "included", "moving_parts", "reason")), row
            assert bool(row["muscles"]) == (row["included"] == "yes"), row
            named = row["muscles"].split(";") if row["muscles"] else []
            assert named == sorted(named, key=MUSCLES.index), row


def test_the_two_drafts_agree_where_they_show_the_same():
    ucf, hmdb = draft("ucf101").muscles, draft("hmdb51").muscles
    assert {a: ucf[a] for a in SAME} == {a: hmdb[b] for a, b in SAME.items()}


def test_musclemap136_has_twenty_new_activities(shared):
    rows = csv.DictReader((shared / "data/classes/musclemap136_new_activities.csv").open())
    names = read_activities(ANNOTATIONS / "musclemap136_new_activities.csv")
    assert names == [row["name_in_paper_D2"] for row in rows]
    assert len(names) == 20


def test_configs_name_the_table_that_is_prepared():
    for benchmark in [MUSCLEUCF90, MUSCLEHMDB41]:
        leaves = sorted((ROOT / "configs" / benchmark.name).glob("*.yaml"))
        assert leaves
        for leaf in leaves:
            assert f"data/{benchmark.name}" == load_cfg(leaf).DATA.PATH_TO_DATA_DIR
            assert f"--cfg configs/{benchmark.name}/{leaf.name}" in leaf.read_text(encoding="utf-8")
