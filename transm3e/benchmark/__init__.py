"""Speed, memory and work of models side by side with a reference: what tools/benchmark.py runs."""
