"""What was made against what the paper counts, each difference by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from transm3e.data.annotations import SPLITS, Clip
from transm3e.prepare.benchmarks.facts import Benchmark

NEW_SPLITS = ("new_val", "new_test")


def count_report(benchmark: Benchmark, clips: Sequence[Clip]) -> str:
    """A Markdown table of clips and activities per split with the paper's counts, and a line per difference."""
    here = Counter(clip.split for clip in clips)
    shown = {split: {clip.activity for clip in clips if clip.split == split} for split in SPLITS}
    rows = [(split, here[split], benchmark.counts[split], len(shown[split])) for split in SPLITS]
    activities = set().union(*shown.values())
    rows.append(("sum", len(clips), sum(benchmark.counts.values()), len(activities)))
    lines = ["| split | clips | paper | difference | activities |", "|---|---|---|---|---|"]
    lines += [f"| {name} | {count} | {paper} | {count - paper:+d} | {n} |" for name, count, paper, n in rows]
    return "\n".join([*lines, "", *(f"- {line}" for line in differences(benchmark, clips))])


def differences(benchmark: Benchmark, clips: Sequence[Clip]) -> list[str]:
    """One sentence per number that is not the paper's, then what is known of the paper's numbers."""
    here = Counter(clip.split for clip in clips)
    lines = [
        f"{split}: {here[split]} clips here, {paper} in the paper ({here[split] - paper:+d})."
        for split, paper in benchmark.counts.items()
        if here[split] != paper
    ]
    activities, paper_sum = {clip.activity for clip in clips}, sum(benchmark.counts.values())
    if len(clips) != paper_sum:
        lines.append(f"Sum: {len(clips)} clips here, {paper_sum} in the paper ({len(clips) - paper_sum:+d}).")
    if len(activities) != benchmark.activities:
        lines.append(f"Activities: {len(activities)} here, {benchmark.activities} in the paper.")
    return [*(lines or ["All split sizes are the paper's."]), *_gaps(clips), *benchmark.notes]


def _gaps(clips: Sequence[Clip]) -> list[str]:
    """Activities that a split they belong to lacks: too few groups."""
    splits_of: dict[str, set[str]] = {}
    for clip in clips:
        splits_of.setdefault(clip.activity, set()).add(clip.split)
    lines = []
    for split in SPLITS[1:]:
        family = set(NEW_SPLITS) if split in NEW_SPLITS else set(SPLITS) - set(NEW_SPLITS)
        lacking = sorted(name for name, found in splits_of.items() if found & family and split not in found)
        if lacking:
            lines.append(f"{split} shows no clip of: {', '.join(lacking)}.")
    return lines
