"""Intervals and differences of a finished table as Markdown, CSV columns and LaTeX."""

from __future__ import annotations

from transm3e.report.table import COLUMNS
from transm3e.tables.formats import NOT_RUN, markdown_table, tabular
from transm3e.tables.statistics.uncertainty import ALPHA, Difference, RowUncertainty, Uncertainty

HEAD = ("", *COLUMNS)
CSV_PARTS = ("_low", "_high", "_diff", "_diff_std", "_diff_low", "_diff_high", "_p", "_p_holm")
COVERS = (
    "Intervals hold what is to be expected on as many other {units} of the same kind: {units} are drawn with replacement "
    "{resamples} times, the same ones for every row, and the draws centred on the figure. They and p say nothing of other "
    "training seeds (the standard deviations do) or of wrong labels"
)
# Clips of an activity share their labels, and models their errors.
BY_CLIP = ". Clips of one activity are alike, so intervals from single clips are too narrow, and p too small"


def uncertainty_markdown(uncertainty: Uncertainty) -> str:
    """The intervals, the differences, what they cover, and what was left out."""
    intervals = [[row.label, *map(_markdown_interval, row.intervals)] for row in uncertainty.rows]
    text = f"### 95% intervals\n\n{markdown_table([HEAD, *intervals])}"
    if uncertainty.against:
        differences = [[row.label, *map(_markdown_difference, row.differences)] for row in _compared(uncertainty)]
        text += f"\n### Differences to {uncertainty.against}\n\n{markdown_table([HEAD, *differences])}"
        text += f"\n{_test(uncertainty)}; **bold**: {_bold()}.\n"
    text += f"\n{_covers(uncertainty)}.\n"
    return text + "".join(["\nNotes:\n\n", *(f"- {note}\n" for note in uncertainty.notes)] if uncertainty.notes else "")


def uncertainty_latex(uncertainty: Uncertainty) -> str:
    """A tabular of the differences; "" in a table of one row."""
    if not uncertainty.against:
        return ""
    rows = [(row.label, list(map(_latex_difference, row.differences))) for row in _compared(uncertainty)]
    notes = "".join(f"% Note: {note}\n" for note in uncertainty.notes)
    head = f"% Differences to {uncertainty.against}. {_test(uncertainty)}; bold: {_bold()}.\n"
    return f"{head}% {_covers(uncertainty)}.\n{notes}{tabular(rows)}"


def uncertainty_cells(uncertainty: Uncertainty) -> list[list[str]]:
    """Cells of a CSV file, of its head and of each row.

    Per column the interval, then the difference, its interval, p and p by Holm; last whom the row is compared with.
    """
    head = [*(column + part for column in COLUMNS for part in CSV_PARTS), "against"]
    return [head, *(_csv_cells(row, uncertainty.against) for row in uncertainty.rows)]


def _csv_cells(row: RowUncertainty, against: str) -> list[str]:
    cells = []
    for interval, difference in zip(row.intervals, row.differences, strict=True):
        cells += [f"{bound:.2f}" for bound in interval] if interval else ["", ""]
        cells += _csv_difference(difference) if difference else [""] * 6
    return [*cells, against if any(row.differences) else ""]


def _compared(uncertainty: Uncertainty) -> list[RowUncertainty]:
    return [row for row in uncertainty.rows if row.label != uncertainty.against]


def _markdown_interval(interval: tuple[float, float] | None) -> str:
    return f"[{interval[0]:.1f}, {interval[1]:.1f}]" if interval else NOT_RUN


def _markdown_difference(difference: Difference | None) -> str:
    if difference is None:
        return NOT_RUN
    mark = "**" * _is_clear(difference)
    spread = "" if difference.spread is None else f" ± {difference.spread:.1f}"
    return f"{mark}{_signed(difference.value)}{mark}{spread} {_bounds(difference)} p {_p(difference)}"


def _latex_difference(difference: Difference | None) -> str:
    if difference is None:
        return NOT_RUN
    value = _signed(difference.value)
    shown = rf"\textbf{{{value}}}" if _is_clear(difference) else value
    shown += "" if difference.spread is None else rf"$\pm${difference.spread:.1f}"
    sign = "" if _p(difference).startswith("<") else "="
    return f"{shown} {_bounds(difference)} $p{sign}{_p(difference)}$"


def _csv_difference(difference: Difference) -> list[str]:
    value, low, high = (f"{value:+.2f}" for value in (difference.value, difference.low, difference.high))
    spread = "" if difference.spread is None else f"{difference.spread:.2f}"
    return [value, spread, low, high, f"{difference.p:.4f}", f"{difference.adjusted:.4f}"]


def _is_clear(difference: Difference) -> bool:
    return difference.adjusted < ALPHA and difference.agree


def _bold() -> str:
    return f"p < {ALPHA}, and the same sign with every seed"


def _bounds(difference: Difference) -> str:
    return f"[{_signed(difference.low)}, {_signed(difference.high)}]"


def _signed(points: float) -> str:
    return f"{round(points, 1) + 0.0:+.1f}"  # + 0.0: never "-0.0"


def _p(difference: Difference) -> str:
    return "<0.001" if difference.adjusted < 0.001 else f"{difference.adjusted:.3f}"


def _test(uncertainty: Uncertainty) -> str:
    return (
        f'Row minus "{uncertainty.against}" in percentage points, mean ± standard deviation over the seeds that both have, its 95% interval, and '
        f"p of a two-sided paired permutation test ({uncertainty.comparison.resamples} permutations), in each column corrected "
        "over the rows of the table by Holm's method"
    )


def _covers(uncertainty: Uncertainty) -> str:
    by_clip = uncertainty.comparison.by_clip
    covers = COVERS.format(units="clips" if by_clip else "activities", resamples=uncertainty.comparison.resamples)
    return covers + BY_CLIP * by_clip
