"""Whether training as a user starts it works: processes, and both stages on MuscleSynth."""

from __future__ import annotations

import io
import json
import runpy
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

from transm3e.benchmark.gpu.rows import Row, Scale
from transm3e.benchmark.markdown import duration
from transm3e.benchmark.processes import ALONE, SECONDS, STRATEGIES, ProcessSettings, time_process
from transm3e.benchmark.timing import times_faster
from transm3e.prepare.musclesynth.activities import CORE
from transm3e.prepare.musclesynth.generate import generate
from transm3e.prepare.musclesynth.plan import SIZES, SetSize

STAGE_2 = "configs/MuscleSynth/transm3e_rgb_motion.yaml"
FEW = SetSize(16, 4, CORE)
SMALL = (
    "DATA.NUM_FRAMES 2 DATA.TRAIN_CROP_SIZE 32 DATA.TEST_CROP_SIZE 32 MVIT.EMBED_DIM 8 TRAIN.BATCH_SIZE 8 "
    "TEST.NUM_ENSEMBLE_VIEWS 1 DATA_LOADER.NUM_WORKERS 0"
)


def processes(scale: Scale) -> Iterator[Row]:
    """A step by itself, in DDP and in shards, in a group of this process alone."""
    entry = scale.paper[0]
    settings = ProcessSettings(scale.device, scale.precision, (1,), scale.batch_size, scale.repeats, scale.warmup, 0)
    with tempfile.TemporaryDirectory() as folder:
        time_process(0, 1, f"file://{folder}/rendezvous", entry, settings, folder)
        seconds = json.loads((Path(folder) / SECONDS).read_text(encoding="utf-8"))
    for strategy in STRATEGIES:
        ratio = times_faster(seconds[strategy], seconds[ALONE])
        yield Row(
            f"{entry.name}, {strategy}",
            duration(statistics.median(seconds[strategy])),
            f"{ratio:.3f}x the time of alone",
        )


def musclesynth(scale: Scale) -> Iterator[Row]:
    """Both runs of stage 1 and the student of stage 2, trained and scored by tools/run_net.py."""
    on_gpu = scale.device == "cuda"
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(SIZES, few=FEW):
        data, runs = Path(folder) / "data", Path(folder) / "runs"
        generate(data, "tiny" if on_gpu else "few", workers=None if on_gpu else 1)
        both = f"SOLVER.MAX_EPOCH {scale.epochs} TRAIN.EVAL_PERIOD 0 {'' if on_gpu else SMALL}".split()
        device = f"NUM_GPUS {int(on_gpu)} TRAIN.MIXED_PRECISION {on_gpu} TENSORBOARD.ENABLE False".split()
        stage_1 = [*both, "TEST.ENABLE", str(on_gpu)]
        place = ["DATA.PATH_TO_DATA_DIR", str(data), "RUNS_DIR", str(runs)]
        words = ["--cfg", str(scale.root / STAGE_2), *place, *device, *both, "INIT.OPTS", str(stage_1)]
        status, said = _run_net(scale.root, words)
        for results in sorted(runs.glob("*/results.json")):
            found = json.loads(results.read_text(encoding="utf-8"))
            name = results.parent.name.split("-")[0]
            yield Row(name, f"mAP {found['mean_test']:.3f}", f"{scale.epochs} epochs", True)
        if status:
            yield Row("run_net.py", f"status {status}", said, False)


def _run_net(root: Path, words: list[str]) -> tuple[int, str]:
    """tools/run_net.py in this process, which has imported what it needs; its status and the last line of its messages."""
    tool, said, status = root / "tools/run_net.py", io.StringIO(), 0
    with mock.patch.object(sys, "argv", [str(tool), *words]), redirect_stderr(said), redirect_stdout(said):
        try:
            runpy.run_path(str(tool), run_name="__main__")
        except SystemExit as end:
            status = int(end.code or 0)
    return status, (said.getvalue().strip().splitlines() or ["nothing said"])[-1]
