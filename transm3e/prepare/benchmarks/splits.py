"""Draw the splits as the paper describes (section D.2), from a seed."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from transm3e.data.annotations import KNOWN_SPLITS

# Largest share of a known activity's clips for known_val and for known_test, so that train keeps some.
LARGEST_KNOWN_SHARE = 0.25


def draw_splits(
    activities: Sequence[str],
    groups: Sequence[str],
    new: Collection[str],
    counts: Mapping[str, int],
    seed: int,
) -> list[str]:
    """The split of each of N clips, one of SPLITS.

    Half of every new activity's clips become new_val, the rest new_test. Known activities are divided in the
    proportions of train, known_val and known_test in `counts`, each activity by itself. Groups are never divided, so an
    activity may miss its share by half a group; the next activities make up for it.

    Args:
        activities: N names.
        groups: N names; clips of one activity and group stay together. Distinct names draw single clips.
        new: the new activities.
        counts: split -> clips in the paper.
        seed: of the draw; which clips of an activity are drawn depends on it and the activity's name.
    """
    known_total = sum(counts[split] for split in KNOWN_SPLITS)
    known_shares = {split: counts[split] / known_total for split in KNOWN_SPLITS[1:]}
    units: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for index, (activity, group) in enumerate(zip(activities, groups, strict=True)):
        units[activity][group].append(index)
    splits, owed = ["train"] * len(activities), dict.fromkeys(counts, 0.0)
    for activity in sorted(units):
        rng = np.random.default_rng([seed, zlib.crc32(activity.encode())])
        names = sorted(units[activity])
        spare = [units[activity][names[i]] for i in rng.permutation(len(names))]
        size = sum(map(len, spare))
        rest, shares, most = ("new_test", {"new_val": 0.5}, size) if activity in new else _known(known_shares, size)
        for split, share in shares.items():
            owed[split] += share * size
            taken = _take(spare, min(owed[split], most))
            owed[split] -= sum(map(len, taken))
            _assign(splits, taken, split)
            spare = [unit for unit in spare if unit not in taken]
        _assign(splits, spare, rest)
    return splits


def _known(shares: dict[str, float], size: int) -> tuple[str, dict[str, float], float]:
    return "train", shares, LARGEST_KNOWN_SHARE * size


def _take(units: list[list[int]], wanted: float) -> list[list[int]]:
    """The units, in order, that bring the number of clips closer to `wanted`; fewer than 2 * wanted clips."""
    taken: list[list[int]] = []
    for unit in units:
        if sum(map(len, taken)) + len(unit) / 2 < wanted:
            taken.append(unit)
    return taken


def _assign(splits: list[str], units: list[list[int]], split: str) -> None:
    for unit in units:
        for index in unit:
            splits[index] = split
