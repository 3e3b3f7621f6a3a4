"""Tables of several runs, one row per run, as text or markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from transm3e.runs.results import MEANS, draws_std, mean_of

COLUMNS = tuple(column for mean, splits in MEANS.items() for column in (*splits, mean))
FORMATS = ("text", "markdown")
MISSING = "-"


def results_table(rows: Sequence[tuple[str, Mapping[str, Any]]], fmt: str = "text", metric: str = "mAP") -> str:
    """A score of several runs in percent with one decimal.

    The best value of a column is marked (`*` in text, bold in markdown) where at least two rows have
    one; rows that show the same best figure are all marked. A missing value is "-". Random scores have their standard
    deviation over draws behind the mean.

    Args:
        rows: (label, results as `read_results` gives them), in the order to print.
        fmt: "text" or "markdown".
        metric: "mAP", or of runs that predict activities "top1" or "top5".

    Returns:
        The table, ending in a line feed.

    Raises:
        ValueError: unknown `fmt`.
    """
    if fmt not in FORMATS:
        raise ValueError(f"unknown table format {fmt!r}; allowed: {', '.join(FORMATS)}")
    cells = [[_percent(results["splits"], column, metric) for column in COLUMNS] for _, results in rows]
    best = [_best([row[i] for row in cells]) for i in range(len(COLUMNS))]
    spreads = _spreads([results["splits"] for _, results in rows])
    mark, layout = (_star, _text) if fmt == "text" else (_bold, _markdown)
    marked = [
        [mark(cell, cell == top) + spread for cell, top, spread in zip(row, best, beside, strict=True)]
        for row, beside in zip(cells, spreads, strict=True)
    ]
    labels = [" ".join(label.split()) for label, _ in rows]
    return layout([["model", *COLUMNS], *([label, *row] for label, row in zip(labels, marked, strict=True))])


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells as text, columns under each other."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n" for line in lines
    )


def _percent(splits: Mapping[str, Any], column: str, metric: str) -> str:
    value = mean_of(splits, column, metric) if column in MEANS else splits.get(column, {}).get(metric)
    return MISSING if value is None else f"{100 * value:.1f}"


def _spreads(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """What stands behind each figure; as wide in all rows of a column, so that the figures stay in one line."""
    stds = [[draws_std(splits, column) for column in COLUMNS] for splits in rows]
    texts = [["" if std is None else f"± {100 * std:.1f}" for std in row] for row in stds]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return [[text.ljust(width) for text, width in zip(row, widths, strict=True)] for row in texts]


def _best(column: Sequence[str]) -> str | None:
    shown = [cell for cell in column if cell != MISSING]
    return max(shown, key=float) if len(shown) > 1 else None


def _star(cell: str, best: bool) -> str:
    # The blank keeps the decimal points of a column in one line.
    return cell + ("*" if best else " ")


def _bold(cell: str, best: bool) -> str:
    return (f"**{cell}**" if best else cell) + " "


def _text(lines: Sequence[Sequence[str]]) -> str:
    head, *body = lines
    rule = ["-" * width for width in _widths(lines)]
    return _join([head, rule, *body], _widths(lines), "  ".join)


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    lines = [[cell.strip().replace("|", "\\|") for cell in line] for line in lines]
    head, *body = lines
    widths = _widths(lines)
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return _join([head, rule, *body], widths, lambda line: "| " + " | ".join(line) + " |")


def _widths(lines: Sequence[Sequence[str]]) -> list[int]:
    return [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]


def _join(lines: Sequence[Sequence[str]], widths: Sequence[int], joined: Callable[[list[str]], str]) -> str:
    padded = [
        [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        for line in lines
    ]
    return "".join(joined(line).rstrip() + "\n" for line in padded)
