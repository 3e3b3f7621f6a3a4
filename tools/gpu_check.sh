#!/usr/bin/env bash
# All that only a GPU can answer, in one Markdown table, in under 8 minutes and without a network:
#   tools/gpu_check.sh | tee gpu_check.md
# Status 1 if something is not as it must be. --cpu: tiny sizes, to see that it runs; --parts NAME ...: some of it.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
[ -n "${PYTHON:-}" ] || { PYTHON=.venv/bin/python; [ -x "$PYTHON" ] || PYTHON=python; }
# OpenBLAS would start threads on import, and processes are forked.
OPENBLAS_NUM_THREADS=1 PYTHONPATH=. exec "$PYTHON" -m transm3e.benchmark.gpu "$@"
