"""A fake of tools/run_net.py, and a small table for it."""

from __future__ import annotations

import sys

# In run_net.py's place: plans and locks as it does, fails where asked, saves on SIGTERM and resumes, else leaves a
# checkpoint and results; says who ran when.
FAKE_RUN_NET = """
import atexit, contextlib, json, os, signal, sys, time
from pathlib import Path
from transm3e.runs.lock import hold
from transm3e.runs.plan import plan
words = sys.argv[sys.argv.index("--opts") + 1:]
run = plan([sys.argv[sys.argv.index("--cfg") + 1]], words)[-1]
log = Path(sys.argv[1])
saved = run.folder / "saved"
def save(*_):
    saved.parent.mkdir(parents=True, exist_ok=True)
    saved.write_text("")
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
run.folder.mkdir(parents=True, exist_ok=True)
lock = contextlib.ExitStack()
lock.enter_context(hold(run.folder / ".lock.owner"))
atexit.register(lock.close)
begin = "resume" if saved.is_file() else "begin"
log.open("a").write(f"{begin} {run.name} {os.getppid()} {os.getpid()}\\n")
if run.cfg.DATA.MODALITY == "flow":
    sys.exit("error: no column flow")
time.sleep(0 if begin == "resume" else float(sys.argv[2]))
run.final_checkpoint.parent.mkdir(parents=True, exist_ok=True)
run.final_checkpoint.write_text("")
splits = {name: {"mAP": 0.1 * (i + 1) + 0.01 * run.cfg.RNG_SEED} for i, name in enumerate(run.cfg.TEST.SPLITS)}
results = {"run": {"eval_id": run.eval_id}, "splits": splits, "mean_val": 0.15, "mean_test": 0.35}
(run.folder / "results.json").write_text(json.dumps(results))
log.open("a").write(f"end {run.name} {run.cfg.RNG_SEED}\\n")
"""
TABLE = """
title: Trial & error
source: nowhere
rows:
  - {label: student, config: student, paper: {MuscleSynth: [10, 20, 15, 30, 40.2, 35]}}
  - {label: other, config: student, opts: {DISTILL.PAIR_CASE: 1}}
  - {label: flow, config: student, opts: {DISTILL.MODALITY: flow, INIT.TEACHER_FROM: flow}}
"""
FIRST = "NUM_GPUS: 0\nDATA: {MODALITY: %s, PATH_TO_DATA_DIR: '%s'}\n"


def command(tmp_path, seconds=0.0):
    return [sys.executable, str(tmp_path / "stand_in.py"), str(tmp_path / "order.txt"), str(seconds)]


def order(tmp_path):
    return [line.split()[:2] for line in (tmp_path / "order.txt").read_text().splitlines()]
