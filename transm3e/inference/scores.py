"""What a model says about clips: scores by name, as a list, a data frame or a body map."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from transm3e.config.targets import MUSCLE_TARGET
from transm3e.errors import UserError
from transm3e.report.body import body_figure, score_scale

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_MAPS = 6


@dataclass(frozen=True)
class Scores:
    """Scores of N clips, in the order in which they were given; indexing gives those of one clip or of some.

    >>> scores = Scores(("a.mp4",), ("chest", "biceps"), np.array([[0.2, 0.7]], np.float32))
    >>> scores.top(1)
    [('biceps', 0.7)]
    >>> scores[0].values.shape
    (2,)

    Attributes:
        clips: names of the N clips.
        columns: names of the C muscles, or activities.
        values: (N, C) float32 in [0, 1], (C,) of one clip; NaN where a clip could not be scored.
        target: what the columns are, "muscles" or "activity".
        unknown: columns whose scores mean nothing, as hardly any training clip has them.
        failed: clip -> why it could not be scored.
    """

    clips: tuple[str, ...]
    columns: tuple[str, ...]
    values: np.ndarray
    target: str = MUSCLE_TARGET
    unknown: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, which: int | slice) -> Scores:
        rows = np.atleast_2d(self.values)
        if isinstance(which, slice):
            return replace(self, clips=self.clips[which], values=rows[which])
        return replace(self, clips=(self.clips[which],), values=rows[which])

    def __iter__(self) -> Iterator[Scores]:
        return (self[number] for number in range(len(self)))

    def top(self, number: int = 5) -> Any:
        """The highest scores of a clip, highest first, [(name, score), ...]; for several clips a list of these, [] for
        one that could not be scored. Unknown columns are left out."""
        if len(self) != 1:
            return [one.top(number) for one in self]
        known = sorted(self._known(), key=lambda each: -each[1])
        return [(name, round(value, 6)) for name, value in known[:number]]

    def to_pandas(self) -> Any:
        """A DataFrame with a row per clip and a column per muscle; NaN where a score is unknown or could not be made.

        Raises:
            UserError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise UserError("to_pandas: pandas is not installed; pip install pandas, or use .values") from error
        frame = pandas.DataFrame(np.atleast_2d(self.values), index=[*self.clips], columns=[*self.columns])
        frame[[*self.unknown]] = np.nan
        return frame.rename_axis("clip")

    def show(self) -> Figure:
        """A body map per clip as a figure of matplotlib, which a notebook displays; no display is needed.

        Raises:
            UserError: activities are no muscles, no clip has scores, or more clips than MOST_MAPS.
        """
        if self.target != MUSCLE_TARGET:
            raise UserError("show draws muscles, but this model scores activities; use .top() or .to_pandas()")
        scored = {one.clips[0]: dict(one._known()) for one in self if not np.isnan(one.values).any()}
        if not scored or len(scored) > MOST_MAPS:
            raise UserError(
                f"show draws 1 to {MOST_MAPS} clips, not {len(scored)}; choose some, as scores[:{MOST_MAPS}].show()"
            )
        figure = body_figure(scored, scale=score_scale([list(scores.values()) for scores in scored.values()]))
        # Where pyplot is not imported, notebooks do not know how to display a figure.
        cast(Any, figure)._repr_png_ = lambda: _png(figure)
        return figure

    def _known(self) -> list[tuple[str, float]]:
        values = np.atleast_2d(self.values)[0].tolist()
        named = zip(self.columns, values, strict=True)
        return [(name, value) for name, value in named if name not in self.unknown and value == value]


def _png(figure: Figure) -> bytes:
    from io import BytesIO

    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure).print_png(stream := BytesIO())
    return stream.getvalue()
