"""Use the content of files once after reading, so that wrong values show up."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from tests.security.samples import WHEEL_MODEL
from transm3e.config.load import cfg_from_text
from transm3e.data.activities import Activities, find_activities
from transm3e.data.annotations import Clip, table_from_clips
from transm3e.data.blazepose.models import from_wheel
from transm3e.data.decode import Video
from transm3e.data.flow import open_flow
from transm3e.data.skeleton import read_skeleton
from transm3e.engine.replay import read_bad_step
from transm3e.errors import UserError
from transm3e.models.weights import read_checkpoint
from transm3e.prepare.benchmarks.list_files import LABELS, first_label, read_list
from transm3e.prepare.check.cache import key, open_cache
from transm3e.prepare.check.fingerprint import unpack
from transm3e.prepare.check.video import VideoFacts, is_facts
from transm3e.report.run_list import DAMAGED, list_runs, runs_table
from transm3e.report.table import results_table
from transm3e.runs.record import check_owner
from transm3e.runs.results import read_results


def use_skeleton(path: Path, member: str = "") -> None:
    skeleton = read_skeleton(f"{path}{member}")
    assert np.isfinite(skeleton.points).all()
    assert skeleton.points.ndim == 4
    skeleton.joints([0, skeleton.num_frames - 1])


def use_flow(path: Path) -> None:
    with closing(open_flow(path, timeout=10)) as flow:
        assert flow.frames([0, flow.num_frames - 1]).dtype == np.uint8


def use_video(path: Path) -> None:
    with closing(Video(path, timeout=10)) as video:
        video.seconds  # noqa: B018
        video.frames([0, video.num_frames - 1])


def use_checkpoint(path: Path) -> None:
    read = read_checkpoint(path)
    for tensor in read["model_state"].values():
        assert tensor.is_meta or tensor.layout != torch.strided or tensor.shape.numel() < 10**6
    if read.get("activities") is not None:
        Activities.from_plain(read["activities"], str(path))
    if "cfg" in read:
        cfg_from_text(read["cfg"], str(path))


def use_bad_step(path: Path) -> None:
    bad = read_bad_step(path)
    assert all(len(clip) == len(batch) == len(batch.paths) for batch in bad.batches for clip in batch.clips.values())
    assert bad.where.isprintable()


def use_results(path: Path) -> None:
    read = read_results(path)
    results_table([("a", read)])


def use_owner(path: Path) -> None:
    run: Any = SimpleNamespace(folder=path.parent)
    check_owner(run, {"name": "a", "id": "b", "table": "c"})


def use_listed_run(path: Path) -> None:
    with TemporaryDirectory(dir=path.parent) as runs:
        (Path(runs) / "a").mkdir()
        shutil.copy(path, Path(runs) / "a" / path.name)
        [run] = list_runs(runs)
        assert all(line.isprintable() for line in runs_table([run]).split("\n"))
        json.dumps(run.as_plain())
        if run.state == DAMAGED:
            raise UserError(run.note)


def use_cache(path: Path) -> None:
    with open_cache(path) as found:
        for name in ("k", key("video", "a.mp4", Path("a.mp4"), "none", 0)):
            value = found.get(name)
            if is_facts(value):
                facts = VideoFacts(**value)
                unpack([facts.fingerprint]) if facts.fingerprint else None


def use_list(path: Path) -> None:
    entries = read_list(path, "", LABELS if path.name == "train.txt" else "", lambda paths: "").entries
    numbered = [entry for entry in entries if entry.labels]
    if numbered:
        first_label(numbered, ["a", "b", "c"])


def use_activities(path: Path) -> None:
    table = table_from_clips([Clip("a.mp4", "train", "squat", (1,))])
    find_activities(table, path.parent / "clips.csv")


def use_wheel(path: Path) -> None:
    from_wheel(path, WHEEL_MODEL)


def use_in_folder(read: Callable[[Path], Any], path: Path) -> None:
    read(path.parent)
