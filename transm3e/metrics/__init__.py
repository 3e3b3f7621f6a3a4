"""Scores of a split: average precision per muscle and its mean."""

from transm3e.metrics.average_precision import average_precision, mean_average_precision

__all__ = ["average_precision", "mean_average_precision"]
