"""A finished table as Markdown, CSV and LaTeX: scores beside the paper's, intervals and differences."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from transm3e.report.table import COLUMNS
from transm3e.tables.scores import BEST, SECOND, RowScores, Score
from transm3e.tables.statistics.uncertainty import ALPHA, Difference, RowUncertainty, Uncertainty

NOT_RUN = "-"
LATEX_ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "^": r"\textasciicircum{}",
        "~": r"\textasciitilde{}",
        **{char: f"\\{char}" for char in "&%$#_{}"},
    }
)
NOTE = "mAP in percent, mean ± standard deviation over seeds"
OF_PAPER = (
    "in brackets the paper's score and the difference to it (a score without a difference is the paper's at full "
    "size on MuscleMap136)"
)
CSV_SCORE = ("", "_std", "_paper", "_difference", "_rank")
CSV_UNCERTAINTY = ("_low", "_high", "_diff", "_diff_std", "_diff_low", "_diff_high", "_p", "_p_holm")
COVERS = (
    "Intervals hold what is to be expected on as many other {units} of the same kind: {units} are drawn with replacement "
    "{resamples} times, the same ones for every row, and the draws centred on the score. They and p say nothing of other "
    "training seeds (the standard deviations do) or of wrong labels"
)
# Clips of an activity share their labels, and models their errors.
BY_CLIP = ". Clips of one activity are alike, so intervals from single clips are too narrow, and p too small"
BOLD = f"p < {ALPHA}, and the same sign with every seed"


@dataclass(frozen=True)
class Style:
    """Format of cells: the best score, the second best, the sign before a spread, and p."""

    best: str
    second: str
    plus_minus: str
    p: str


MARKDOWN, LATEX = (
    Style("**{}**", "*{}*", " ± ", "p {}"),
    Style(r"\textbf{{{}}}", r"\underline{{{}}}", r"$\pm$", "$p{}$"),
)


@dataclass(frozen=True)
class Caption:
    """Caption of a table.

    Attributes:
        title: its name.
        source: of the paper's scores; "" without scores of the paper.
        made_with: seeds and other options.
    """

    title: str
    source: str
    made_with: str

    def note(self, best: str, second: str) -> str:
        """The meaning of the scores, the marks of the best and second best, and the source of the paper's."""
        paper, source = (f"; {OF_PAPER}", f" Paper: {self.source}.") if self.source else ("", "")
        return f"{NOTE} ({self.made_with}){paper}; best {best}, second best {second}.{source}"


def markdown(rows: Sequence[RowScores], uncertainty: Uncertainty | None, caption: Caption) -> str:
    """GitHub tables of the scores (best bold, second best in italics), intervals and differences, with notes."""
    lines = [[row.label, *(_score(score, MARKDOWN) for score in row.scores), row.state] for row in rows]
    text = f"## {caption.title}\n\n{_github(lines, 'runs')}\n{caption.note('**bold**', '*italic*')}\n"
    if uncertainty is None:
        return text
    intervals = [[row.label, *map(_interval, row.intervals)] for row in uncertainty.rows]
    text += f"\n### 95% intervals\n\n{_github(intervals)}"
    if uncertainty.against:
        differences = [[r.label, *(_difference(d, MARKDOWN) for d in r.differences)] for r in _compared(uncertainty)]
        text += f"\n### Differences to {uncertainty.against}\n\n{_github(differences)}"
        text += f"\n{_test(uncertainty)}; **bold**: {BOLD}.\n"
    notes = "".join(["\nNotes:\n\n", *(f"- {note}\n" for note in uncertainty.notes)] if uncertainty.notes else "")
    return f"{text}\n{_covers(uncertainty)}.\n{notes}"


def latex(rows: Sequence[RowScores], uncertainty: Uncertainty | None, caption: Caption) -> str:
    """Tabulars for booktabs: the scores (best bold, second best underlined), and the differences between rows."""
    text = f"% {caption.title}. {caption.note('bold', 'underlined')}\n% Needs \\usepackage{{booktabs}}.\n"
    text += _tabular([(row.label, [_score(score, LATEX) for score in row.scores]) for row in rows])
    if uncertainty is None or not uncertainty.against:
        return text
    differences = [(row.label, [_difference(d, LATEX) for d in row.differences]) for row in _compared(uncertainty)]
    notes = "".join(f"% Note: {note}\n" for note in uncertainty.notes)
    text += f"\n% Differences to {uncertainty.against}. {_test(uncertainty)}; bold: {BOLD}.\n"
    return f"{text}% {_covers(uncertainty)}.\n{notes}{_tabular(differences)}"


def comma_separated(rows: Sequence[RowScores], uncertainty: Uncertainty | None) -> str:
    """One line per row; per column the mean, the standard deviation, the paper's score, the difference and the rank.

    With `uncertainty` also per column the interval, the difference, its interval, p and p by Holm; last the row that it is
    compared with.
    """
    lines = [["row", *(column + part for column in COLUMNS for part in CSV_SCORE), "runs"]]
    lines += [[row.label, *(cell for score in row.scores for cell in _csv_score(score)), row.state] for row in rows]
    if uncertainty:
        lines[0] += [*(column + part for column in COLUMNS for part in CSV_UNCERTAINTY), "against"]
        for line, row in zip(lines[1:], uncertainty.rows, strict=True):
            line += [*_csv_uncertainty(row), uncertainty.against if any(row.differences) else ""]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def _github(lines: Sequence[Sequence[str]], *more: str) -> str:
    """A GitHub table with right-aligned columns of scores, and `more` columns after them."""
    rule = ["---", *["---:"] * len(COLUMNS), *["---"] * len(more)]
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in (["", *COLUMNS, *more], rule, *lines)]
    return "".join(f"| {' | '.join(line)} |\n" for line in escaped)


def _tabular(rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Label and cells in LaTeX of each row."""
    head = " & ".join(["", *(_in_latex(column) for column in COLUMNS)])
    body = "\n".join(" & ".join([_in_latex(label), *cells]) + r" \\" for label, cells in rows)
    top = f"\\begin{{tabular}}{{l{'r' * len(COLUMNS)}}}\n\\toprule\n{head} \\\\\n\\midrule"
    return f"{top}\n{body}\n\\bottomrule\n\\end{{tabular}}\n"


def _in_latex(text: str) -> str:
    return text.translate(LATEX_ESCAPES)


def _score(score: Score, style: Style) -> str:
    """The mean, its spread, and in brackets the paper's score and the difference to it, where they exist."""
    shown = {BEST: style.best, SECOND: style.second}.get(score.rank, "{}").format(score.shown) or NOT_RUN
    shown += "" if score.spread is None else f"{style.plus_minus}{score.spread:.1f}"
    if score.paper is None:
        return shown
    return f"{shown} ({score.paper:.1f}{'' if score.difference is None else f', {score.difference:+.1f}'})"


def _interval(interval: tuple[float, float] | None) -> str:
    return f"[{interval[0]:.1f}, {interval[1]:.1f}]" if interval else NOT_RUN


def _difference(difference: Difference | None, style: Style) -> str:
    if difference is None:
        return NOT_RUN
    is_clear = difference.adjusted < ALPHA and difference.agree
    shown = (style.best if is_clear else "{}").format(_signed(difference.value))
    shown += "" if difference.spread is None else f"{style.plus_minus}{difference.spread:.1f}"
    p = "<0.001" if difference.adjusted < 0.001 else f"{'=' * (style is LATEX)}{difference.adjusted:.3f}"
    return f"{shown} [{_signed(difference.low)}, {_signed(difference.high)}] {style.p.format(p)}"


def _signed(points: float) -> str:
    return f"{round(points, 1) + 0.0:+.1f}"  # + 0.0: never "-0.0"


def _csv_score(score: Score) -> list[str]:
    mean, spread, paper = (f"{v:.2f}" if v is not None else "" for v in (score.mean, score.spread, score.paper))
    return [
        mean,
        spread,
        paper,
        "" if score.difference is None else f"{score.difference:+.1f}",
        f"{score.rank or ''}",
    ]


def _csv_uncertainty(row: RowUncertainty) -> list[str]:
    cells = []
    for interval, d in zip(row.intervals, row.differences, strict=True):
        cells += [f"{bound:.2f}" for bound in interval] if interval else ["", ""]
        spread = "" if d is None or d.spread is None else f"{d.spread:.2f}"
        cells += [f"{d.value:+.2f}", spread, f"{d.low:+.2f}", f"{d.high:+.2f}"] if d else [""] * 4
        cells += [f"{d.p:.4f}", f"{d.adjusted:.4f}"] if d else [""] * 2
    return cells


def _compared(uncertainty: Uncertainty) -> list[RowUncertainty]:
    return [row for row in uncertainty.rows if row.label != uncertainty.against]


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
