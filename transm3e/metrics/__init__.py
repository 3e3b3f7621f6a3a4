"""Scores of a split: average precision per muscle and its mean; top-k accuracy of activities."""

from transm3e.metrics.average_precision import average_precision, mean_average_precision
from transm3e.metrics.top_k import top_k_accuracy

__all__ = ["average_precision", "mean_average_precision", "top_k_accuracy"]
