"""Which clip goes to which split: whole families are new, and rare muscles are drawn first."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

PROPOSED_SPLITS = ("known", "new_val", "new_test")
NEW_SHARE = 0.05  # of all clips, for each of new_val and new_test
KNOWN_SHARE = 0.10  # of the known clips, for each of known_val and known_test
LARGEST_NEW_FAMILY = 4  # the common movements stay known


def draw_splits(
    families: Sequence[str], labels: np.ndarray, proposed: Sequence[str] | None = None, seed: int = 0
) -> list[str]:
    """The split of each clip, one of SPLITS, drawn by `seed`.

    Whole families of at most LARGEST_NEW_FAMILY clips become new, unless `proposed` says which are. Of the
    known clips, single ones become known_val and known_test, where their family keeps a clip in train.

    Args:
        families: N names.
        labels: (N, 20) multi-hot; rare muscles are drawn first, see draw_units.
        proposed: N of PROPOSED_SPLITS, one per family, or None to draw the new families too.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    splits = np.array(["known"] * len(families) if proposed is None else proposed, dtype="<U10")
    members = defaultdict(list)
    for index, family in enumerate(families):
        members[family].append(index)
    groups = [members[family] for family in sorted(members)]
    if proposed is None:
        small = [group for group in groups if len(group) <= LARGEST_NEW_FAMILY]
        for split in PROPOSED_SPLITS[1:]:
            small = draw_units(small, labels, NEW_SHARE, rng, splits, split)
    known = splits == "known"
    # The first of each shuffled family stays in train.
    spare = [[i] for group in groups if known[group[0]] for i in rng.permutation(group)[1:]]
    splits[known] = "train"
    for split in ("known_val", "known_test"):
        spare = draw_units(spare, labels * known[:, None], KNOWN_SHARE * known.mean(), rng, splits, split)
    return splits.tolist()


def draw_folds(families: Sequence[str], folds: int, seed: int = 0) -> list[int]:
    """The fold of each clip, 0 to folds - 1: whole families, the largest first, each to the fold with the fewest clips."""
    sizes = Counter(families)
    order = np.random.default_rng(seed).permutation(sorted(sizes)).tolist()
    filled, fold_of = [0] * folds, {}
    for family in sorted(order, key=lambda family: -sizes[family]):
        fold_of[family] = min(range(folds), key=filled.__getitem__)
        filled[fold_of[family]] += sizes[family]
    return [fold_of[family] for family in families]


def draw_units(
    units: list[list[int]], labels: np.ndarray, share: float, rng: np.random.Generator, splits: np.ndarray, split: str
) -> list[list[int]]:
    """Move `share` of all clips to `split`, in whole units, the rarest muscle's quota first; returns the units that stay.

    A muscle's quota is `share` of its positives, but at least two of them where that is no more than a
    quarter; it is missed where too few units carry the muscle.

    Args:
        units: indices of clips that move together.
        labels: (N, 20) multi-hot of the clips that count, zeros for the others.
        share: of N.
        rng: decides the order.
        splits: (N,) str, changed in place.
        split: where to.
    """
    # Small families first: of a large one a clip could be spared for known_val.
    order = sorted((units[i] for i in rng.permutation(len(units))), key=len)
    totals = labels.sum(0, dtype=int)
    quotas = np.maximum(np.round(share * totals), np.minimum(2, totals // 4))
    for muscle in np.argsort(totals, kind="stable"):
        for unit in order:
            carries = splits[unit[0]] != split and labels[unit, muscle].any()
            if carries and labels[splits == split, muscle].sum() < quotas[muscle]:
                splits[unit] = split
    for unit in order:
        if (splits == split).sum() < round(share * len(labels)):
            splits[unit] = split
    return [unit for unit in units if splits[unit[0]] != split]
