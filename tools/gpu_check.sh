#!/usr/bin/env bash
# All that only a GPU can answer, in one Markdown table, in under 8 minutes and without a network; --cpu only shows that it runs.
#   tools/gpu_check.sh | tee gpu_check.md
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
python=.venv/bin/python; [ -x "$python" ] || python=python
exec "${PYTHON:-$python}" tools/gpu_check.py "$@"
