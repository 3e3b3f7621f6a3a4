"""List of the runs in a folder with their state and scores; damaged run folders are listed, too."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from transm3e.engine.checkpoint import NAME, CheckpointStore
from transm3e.errors import RESUMES, UserError, one_line
from transm3e.files import open_regular, read_text
from transm3e.foreign.yaml_text import parse_yaml
from transm3e.report.table import aligned
from transm3e.runs.folder import LOCK, LOG, RESULTS
from transm3e.runs.lock import holder
from transm3e.runs.record import CONFIG, OWNER, read_owner
from transm3e.runs.results import MEANS, mean_of, metric_of, read_results

AT_WORK, DONE, TRAINED, STOPPED, FAILED, DAMAGED = "at work", "done", "trained", "stopped", "failed", "damaged"
HEAD = ("run", "state", "epoch", *MEANS, "dataset", "changed")
# Bytes read from the end of a log; a line there that says why the run ended.
TAIL = 1 << 16
ERROR = re.compile(r"\[ERROR\] [^:]+: +\d+: (.*)")
NOTE = 160


@dataclass(frozen=True)
class ListedRun:
    """State of a run, as its folder shows it.

    Attributes:
        folder: of the run.
        state: AT_WORK (a process holds the folder), DONE (scored), TRAINED (not scored), STOPPED, FAILED or DAMAGED.
        epoch: "3 of 10", from the newest checkpoint; "" if there is none.
        metric: "mAP" or "top1".
        scores: MEANS -> score in [0, 1] or None.
        dataset: its name.
        changed: seconds since 1970.
        note: the process at work, why it failed, or what is damaged.
    """

    folder: Path
    state: str
    epoch: str = ""
    metric: str = ""
    scores: Mapping[str, float | None] | None = None
    dataset: str = ""
    changed: float = 0.0
    note: str = ""

    def as_plain(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "folder": str(self.folder)}


def list_runs(runs_dir: str | Path) -> list[ListedRun]:
    """The runs in a folder, the last changed first; folders without a run are left out.

    Raises:
        UserError: the folder cannot be read.
    """
    try:
        folders = [Path(entry.path) for entry in os.scandir(runs_dir) if entry.is_dir()]
    except OSError as error:
        raise UserError(f"cannot read {runs_dir}: {error.strerror}; name the folder that runs are in") from error
    marks = (OWNER, RESULTS, CONFIG, LOCK)
    runs = [_read_run(folder) for folder in folders if any((folder / name).is_file() for name in marks)]
    return sorted(runs, key=lambda run: (-run.changed, str(run.folder)))


def runs_table(runs: Sequence[ListedRun]) -> str:
    """The list as text, each note below its run."""
    lines = aligned([HEAD, *map(_cells, runs)]).splitlines()
    notes = ["", *(run.note for run in runs)]
    return "".join(f"{line}\n" + (f"    {note}\n" if note else "") for line, note in zip(lines, notes, strict=True))


def _read_run(folder: Path) -> ListedRun:
    changed = max(_changed(folder / name) for name in (LOG, RESULTS, OWNER, CONFIG, "checkpoints", ""))
    try:
        read_owner(folder / OWNER)
        cfg = _config(folder)
        dataset = str(cfg.get("TRAIN", {}).get("DATASET", ""))
        found = ListedRun(folder, STOPPED, _epoch(folder, cfg), dataset=dataset, changed=changed)
        return _with_state(found, has_trained=found.epoch == f"{_epochs(cfg)} of {_epochs(cfg)}")
    except (UserError, OSError, UnicodeDecodeError, AttributeError) as error:
        return ListedRun(folder, DAMAGED, changed=changed, note=one_line(str(error))[:NOTE])


def _with_state(run: ListedRun, has_trained: bool) -> ListedRun:
    if (run.folder / RESULTS).is_file():
        results = read_results(run.folder / RESULTS)
        metric, dataset = metric_of(results), str(results["run"].get("dataset") or run.dataset)
        scores = {mean: mean_of(results["splits"], mean, metric) for mean in MEANS}
        run = replace(run, state=DONE, metric=metric, scores=scores, dataset=dataset)
    if at_work := holder(run.folder / LOCK):
        return replace(run, state=AT_WORK, note=at_work.process)
    if run.state == DONE:
        return run
    if why := _last_error(run.folder / LOG):
        return replace(run, state=STOPPED if RESUMES in why else FAILED, note=why[:NOTE])
    return replace(run, state=TRAINED) if has_trained else run


def _config(folder: Path) -> dict[str, Any]:
    """The settings of a run of any version; {} if there is no file."""
    file = folder / CONFIG
    cfg = parse_yaml(read_text(file), str(file)) if file.is_file() else {}
    if not isinstance(cfg, dict) or not all(isinstance(cfg.get(key, {}), dict) for key in ("TRAIN", "SOLVER")):
        raise UserError(f"{file} is not a config; delete the folder, or restore the file")
    return cfg


def _epochs(cfg: Mapping[str, Any]) -> str:
    return one_line(str(cfg.get("SOLVER", {}).get("MAX_EPOCH", "?")))[:20]


def _epoch(folder: Path, cfg: Mapping[str, Any]) -> str:
    newest = CheckpointStore(folder, 0).newest()
    match = NAME.fullmatch(newest.name) if newest else None
    if not match:
        return ""
    # A checkpoint within an epoch has the number of that incomplete epoch.
    return f"{int(match[1]) - bool(match[2])} of {_epochs(cfg)}"


def _last_error(log: Path) -> str:
    """The message of the last line of a log if it is an error, else ""."""
    try:
        with open_regular(log) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            lines = file.read(TAIL).decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    match = ERROR.search(lines[-1]) if lines else None
    return one_line(match[1]) if match else ""


def _changed(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _cells(run: ListedRun) -> tuple[str, ...]:
    scores = [(run.scores or {}).get(mean) for mean in MEANS]
    unit = "" if run.metric in ("", "mAP") else f" {run.metric}"
    shown = [one_line(word) for word in (run.folder.name, run.state, run.epoch)]
    values = ["" if score is None else f"{100 * score:.1f}{unit}" for score in scores]
    date = f"{datetime.fromtimestamp(run.changed):%Y-%m-%d %H:%M}"
    return (*shown, *values, one_line(run.dataset), date)
