"""A finished table as Markdown, CSV and LaTeX, beside the paper's figures."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from transm3e.report.table import COLUMNS
from transm3e.tables.figures import BEST, SECOND, Figure, RowFigures

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
    "in brackets the paper's figure and the difference to it (a figure without a difference is the paper's at full "
    "size on MuscleMap136)"
)


@dataclass(frozen=True)
class Caption:
    """What is said of a table.

    Attributes:
        title: its name.
        source: of the paper's figures; "" = there are none.
        made_with: seeds, and what else was asked for.
    """

    title: str
    source: str
    made_with: str

    def note(self, best: str, second: str) -> str:
        """What the figures are, how best and second best are marked, and where the paper's stand."""
        paper, source = (f"; {OF_PAPER}", f" Paper: {self.source}.") if self.source else ("", "")
        return f"{NOTE} ({self.made_with}){paper}; best {best}, second best {second}.{source}"


def markdown(rows: Sequence[RowFigures], caption: Caption) -> str:
    """A GitHub table: best bold, second best in italics."""
    lines = [["", *COLUMNS, "runs"], *([row.label, *map(_markdown_cell, row.figures), row.state] for row in rows)]
    return f"## {caption.title}\n\n{markdown_table(lines)}\n{caption.note('**bold**', '*italic*')}\n"


def markdown_table(lines: Sequence[Sequence[str]]) -> str:
    """A GitHub table: the first line is the head, the columns of figures stand to the right."""
    rule = ["---", *["---:"] * len(COLUMNS), *["---"] * (len(lines[0]) - len(COLUMNS) - 1)]
    return "".join(
        "| " + " | ".join(_in_markdown(cell) for cell in line) + " |\n" for line in [lines[0], rule, *lines[1:]]
    )


def comma_separated(rows: Sequence[RowFigures], beside: Sequence[Sequence[str]] | None = None) -> str:
    """A row per row; of each column the mean, the standard deviation, the paper's figure, and the difference.

    Args:
        beside: further cells, of the head and of each row.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    parts = ("", "_std", "_paper", "_difference", "_rank")
    lines = [["row", *(column + part for column in COLUMNS for part in parts), "runs"]]
    lines += [[row.label, *(cell for figure in row.figures for cell in _csv_cells(figure)), row.state] for row in rows]
    writer.writerows([*line, *more] for line, more in zip(lines, beside or [()] * len(lines), strict=True))
    return text.getvalue()


def latex(rows: Sequence[RowFigures], caption: Caption) -> str:
    """A tabular for booktabs: best bold, second best underlined."""
    comment = f"% {caption.title}. {caption.note('bold', 'underlined')}\n% Needs \\usepackage{{booktabs}}."
    return f"{comment}\n{tabular([(row.label, [_latex_cell(figure) for figure in row.figures]) for row in rows])}"


def tabular(rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Label and cells in LaTeX, one per column of COLUMNS, of each row -> a tabular for booktabs."""
    head = " & ".join(["", *(_in_latex(column) for column in COLUMNS)])
    body = "\n".join(" & ".join([_in_latex(label), *cells]) + r" \\" for label, cells in rows)
    rule = "l" + "r" * len(COLUMNS)
    top = f"\\begin{{tabular}}{{{rule}}}\n\\toprule\n{head} \\\\\n\\midrule"
    return f"{top}\n{body}\n\\bottomrule\n\\end{{tabular}}\n"


def _markdown_cell(figure: Figure) -> str:
    mark = {BEST: "**", SECOND: "*"}.get(figure.rank, "")
    spread = "" if figure.spread is None else f" ± {figure.spread:.1f}"
    return f"{mark}{figure.shown}{mark}{spread}{_beside(figure)}" if figure.shown else f"{NOT_RUN}{_beside(figure)}"


def _latex_cell(figure: Figure) -> str:
    value = {BEST: rf"\textbf{{{figure.shown}}}", SECOND: rf"\underline{{{figure.shown}}}"}.get(
        figure.rank, figure.shown
    )
    spread = "" if figure.spread is None else rf"$\pm${figure.spread:.1f}"
    return f"{value or NOT_RUN}{spread}{_beside(figure)}"


def _beside(figure: Figure) -> str:
    """The paper's figure, and the difference to it where there is one."""
    if figure.paper is None:
        return ""
    return f" ({figure.paper:.1f})" if figure.difference is None else f" ({figure.paper:.1f}, {figure.difference:+.1f})"


def _csv_cells(figure: Figure) -> list[str]:
    spread, paper = ("" if value is None else f"{value:.2f}" for value in (figure.spread, figure.paper))
    mean = "" if figure.mean is None else f"{figure.mean:.2f}"
    difference = "" if figure.difference is None else f"{figure.difference:+.1f}"
    return [mean, spread, paper, difference, str(figure.rank or "")]


def _in_markdown(cell: str) -> str:
    return cell.replace("|", "\\|")


def _in_latex(text: str) -> str:
    return text.translate(LATEX_ESCAPES)
