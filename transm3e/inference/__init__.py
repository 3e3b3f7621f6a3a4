"""Scores from Python: transm3e.load(...).predict(...)."""

from transm3e.inference.predictor import Predictor, load
from transm3e.inference.scores import Scores

__all__ = ["Predictor", "Scores", "load"]
