"""Confidence intervals of scores, and tests between rows."""
