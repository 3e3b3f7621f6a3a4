"""Properties of the draw, on made-up data sets and on the official class sizes."""

from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from transm3e.prepare.benchmarks.facts import MUSCLEHMDB41, MUSCLEMAP136, MUSCLEUCF90
from transm3e.prepare.benchmarks.splits import draw_splits
from transm3e.prepare.benchmarks.tables import read_classes

ANNOTATIONS = Path(__file__).resolve().parents[3] / "datasets" / "annotations"
data_sets = st.dictionaries(
    st.text("abc", min_size=1, max_size=3), st.lists(st.integers(1, 9), min_size=1, max_size=12), min_size=1, max_size=6
)


def clips_of(sizes):
    rows = [(activity, f"g{g}") for activity, groups in sizes.items() for g, n in enumerate(groups) for _ in range(n)]
    return [a for a, _ in rows], [g for _, g in rows]


@settings(max_examples=60, deadline=None)
@given(data_sets, st.data(), st.integers(0, 5))
def test_every_draw_keeps_groups_whole_and_new_activities_out_of_train(sizes, data, seed):
    new = data.draw(st.sets(st.sampled_from(sorted(sizes))))
    activities, groups = clips_of(sizes)
    splits = draw_splits(activities, groups, new, MUSCLEUCF90.counts, seed)
    assert splits == draw_splits(activities, groups, new, MUSCLEUCF90.counts, seed)
    by_group, by_activity = {}, {}
    for activity, group, split in zip(activities, groups, splits, strict=True):
        by_group.setdefault((activity, group), set()).add(split)
        by_activity.setdefault(activity, set()).add(split)
    assert all(len(found) == 1 for found in by_group.values())
    for activity, found in by_activity.items():
        assert found <= {"new_val", "new_test"} if activity in new else "train" in found
    assert not {"new_val", "new_test"} & {s for a in set(sizes) - new for s in by_activity[a]}


def test_official_class_sizes_come_out_in_the_papers_proportions():
    for benchmark, file, groups in [
        (MUSCLEUCF90, "ucf101", 25),
        (MUSCLEHMDB41, "hmdb51", 40),
        (MUSCLEUCF90, "ucf101", None),
    ]:
        classes = read_classes(ANNOTATIONS / f"{file}_classes.csv")
        rows = [(c.name, str(i % groups if groups else i)) for c in classes for i in range(c.clips)]
        activities, units = [a for a, _ in rows], [g for _, g in rows]
        new = {c.name for c in classes if c.new}
        found = Counter(draw_splits(activities, units, new, benchmark.counts, 3))
        known_here = sum(c.clips for c in classes if not c.new)
        known = sum(benchmark.counts[split] for split in ("train", "known_val", "known_test"))
        for split in ("train", "known_val", "known_test"):
            assert abs(found[split] - known_here * benchmark.counts[split] / known) <= (7 if groups else 1)
        assert abs(found["new_val"] - found["new_test"]) <= (7 if groups else 1)
        assert found["new_val"] + found["new_test"] == {"ucf101": 1290, "hmdb51": 845}[file]


def test_seeds_draw_other_clips():
    activities, groups = clips_of({"squat": [1] * 40})
    drawn = [tuple(draw_splits(activities, groups, (), MUSCLEMAP136.counts, seed)) for seed in range(3)]
    assert len(set(drawn)) == 3
    assert {Counter(splits)["known_val"] for splits in drawn} == {5}


def test_the_papers_counts_are_the_papers():
    assert [sum(b.counts.values()) for b in (MUSCLEMAP136, MUSCLEUCF90, MUSCLEHMDB41)] == [15007, 10553, 5260]
