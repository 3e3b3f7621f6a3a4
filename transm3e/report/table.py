"""Tables of several runs, one row per run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transm3e.runs.results import MEANS, draws_std, mean_of

COLUMNS = tuple(column for mean, splits in MEANS.items() for column in (*splits, mean))
MISSING = "-"


def results_table(rows: Sequence[tuple[str, Mapping[str, Any]]], metric: str = "mAP") -> str:
    """One metric of several runs in percent with one decimal, as text.

    The best value of a column is marked with `*` where at least two rows have one; rows with the same best value
    are all marked. A missing value is "-". Random scores have their standard deviation over draws behind the mean.

    Args:
        rows: (label, results as `read_results` gives them), in the order to print.
        metric: "mAP", or for runs that predict activities "top1" or "top5".

    Returns:
        The table, ending in a line feed.
    """
    columns = [_column([results["splits"] for _, results in rows], name, metric) for name in COLUMNS]
    labels = [" ".join(label.split()) for label, _ in rows]
    lines = [["model", *COLUMNS], *([label, *cells] for label, *cells in zip(labels, *columns, strict=True))]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip() + "\n" for line in lines
    )


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells as text with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n" for line in lines
    )


def _column(rows: Sequence[Mapping[str, Any]], column: str, metric: str) -> list[str]:
    """Values, marks and standard deviations, padded so that the values are aligned."""
    values = [mean_of(s, column, metric) if column in MEANS else s.get(column, {}).get(metric) for s in rows]
    stds = [draws_std(splits, column) for splits in rows]
    shown = [MISSING if value is None else f"{100 * value:.1f}" for value in values]
    spreads = ["" if std is None else f"± {100 * std:.1f}" for std in stds]
    width = max(map(len, spreads), default=0)
    values_shown = [cell for cell in shown if cell != MISSING]
    best = max(values_shown, key=float) if len(values_shown) > 1 else None
    return [
        cell + ("*" if cell == best else " ") + spread.ljust(width) for cell, spread in zip(shown, spreads, strict=True)
    ]
