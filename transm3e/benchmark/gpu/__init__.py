"""What only a GPU can answer, in one table: tools/gpu_check.sh."""
