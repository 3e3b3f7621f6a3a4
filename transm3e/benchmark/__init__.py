"""Throughput, memory and work of models beside a reference: what tools/benchmark.py runs."""
