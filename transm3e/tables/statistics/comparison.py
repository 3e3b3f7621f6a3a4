"""What a table's rows are compared with, and how clips are drawn for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transm3e.errors import UserError
from transm3e.tables.figures import row_groups
from transm3e.tables.jobs import PlannedTable

RESAMPLES, FEWEST_RESAMPLES = 1000, 100


@dataclass(frozen=True)
class Comparison:
    """How intervals and tests are made.

    Attributes:
        against: label of the row that the others are compared with, or its beginning; None = each table's last row.
        resamples: of the bootstrap, and permutations of the test; 0 = neither.
        by_clip: draw single clips instead of whole activities.
    """

    against: str | None = None
    resamples: int = RESAMPLES
    by_clip: bool = False

    def row(self, labels: Sequence[str]) -> str | None:
        """The label that is `against`, or else the only one that begins so; None where none does.

        Raises:
            UserError: several labels begin so.
        """
        if self.against is None:
            return labels[-1]
        found = [label for label in labels if label.startswith(self.against)]
        if len(found) > 1 and self.against not in labels:
            raise UserError(
                f"--against {self.against!r} fits several rows ({', '.join(found)}); name one of them in full"
            )
        return self.against if self.against in labels else next(iter(found), None)


def check_comparison(comparison: Comparison, tables: Sequence[PlannedTable]) -> None:
    """Whether a comparison can be made, before hours are spent on runs.

    Raises:
        UserError: no table has the row, several rows of a table fit, or the number of resamples is not allowed.
    """
    if comparison.resamples != 0 and comparison.resamples < FEWEST_RESAMPLES:
        raise UserError(
            f"--resamples {comparison.resamples} is too few for an interval; allowed: {FEWEST_RESAMPLES} or more, or 0 "
            "for no intervals and tests"
        )
    labels = [list(row_groups(table)) for table in tables]
    chosen = [comparison.row(of_table) for of_table in labels]
    if chosen and not any(chosen):
        known = ", ".join(dict.fromkeys(label for of_table in labels for label in of_table))
        raise UserError(f"--against {comparison.against!r}, but no row's label begins so; there are: {known}")
