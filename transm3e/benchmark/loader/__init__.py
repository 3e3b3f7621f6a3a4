"""Clips per second of the loader side by side with plain pipelines: what `tools/benchmark.py loader` runs."""
