"""Stages, ratios, tables and the whole loader benchmark in small."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from transm3e.benchmark.figure import draw
from transm3e.benchmark.loader import stopwatch
from transm3e.benchmark.loader.files import FileSet, Film
from transm3e.benchmark.loader.stopwatch import AUGMENT, CROP, DECODE, OPEN, SEEK, Stopwatch
from transm3e.benchmark.markdown import to_markdown
from transm3e.benchmark.results import LoaderResults, Stages, Throughput
from transm3e.data import transforms
from transm3e.data.decode import FrameSource


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when told to."""
    now = [0.0]
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    return wait


def test_a_stage_within_another_counts_for_itself(clock):
    watch = Stopwatch()
    with watch.stage(AUGMENT):
        clock(1)
        with watch.stage(CROP):
            clock(2)
            with watch.stage(OPEN):
                clock(4)
        clock(8)
    assert watch.seconds == {AUGMENT: 9, CROP: 2, OPEN: 4}


class _Source(FrameSource):
    """Frames that take as many seconds as frames lie between them."""

    def __init__(self, clock):
        self.clock = clock

    def read(self, numbers):
        last = 0
        for number in sorted(numbers):
            self.clock(number - last)
            last = number
            yield number, np.zeros((1, 1, 3), np.uint8)


def test_reaching_a_clip_is_seeking_and_the_rest_decoding(clock, monkeypatch):
    # The stopwatch looks for functions in this package's modules and their classes.
    monkeypatch.setattr(_Source, "__module__", "transm3e.tests")
    monkeypatch.setattr(stopwatch, "a_source", _Source, raising=False)
    watch, read = Stopwatch(), _Source.read
    with watch.watching({}, {read: 4}):
        assert [number for number, _ in _Source(clock).read({100, 104, 108, 150, 154})] == [100, 104, 108, 150, 154]
    assert watch.seconds == {SEEK: 100 + 42, DECODE: 12}
    assert _Source.read is read


def test_functions_are_watched_wherever_they_are_and_put_back(clock):
    from transm3e.data import reading

    watch, apply_to_clip = Stopwatch(), transforms.apply_to_clip
    with watch.watching({apply_to_clip: AUGMENT}):
        assert reading.apply_to_clip is transforms.apply_to_clip is not apply_to_clip
    assert reading.apply_to_clip is transforms.apply_to_clip is apply_to_clip


def film(name):
    return Film(Path(name), 64, 48, 300, Fraction(30), 10**6, 250)


@pytest.fixture
def results():
    """Ours three times as fast, and twice as fast again on resized files."""
    speeds = {("64x48", "transm3e"): (1.0, 2.0, 4.0), ("64x48", "pytorchvideo"): (3.0, 6.0, 12.0)}
    speeds |= {("64x48 resized", "transm3e"): (0.5, 1.0, 2.0)}
    stages = {OPEN: (0.2, 0.2), DECODE: (1.0, 1.2)}
    return LoaderResults(
        command=["benchmark.py", "loader"],
        machine={"cpu": "A CPU", "cores": 2, "av": "18", "torchcodec": None},
        settings={"views": 2, "repeats": 3, "frames_stride_size": (16, 4, 224), "pinned": True},
        file_sets=[
            FileSet("64x48", (film("a.mp4"), film("b.mp4"))),
            FileSet("64x48 resized", (film("c.mp4"),), "64x48"),
        ],
        throughputs=[Throughput(name, 10, seconds, files) for (files, name), seconds in speeds.items()],
        stages=[Stages(name, 10, (2.0, 2.0), files, stages) for files, name in speeds],
    )


def test_ratios(results):
    ours, plain, resized = results.throughputs
    assert [results.slower(one) for one in (ours, plain, resized)] == [None, 3.0, None]
    assert [results.gained(one) for one in (ours, plain, resized)] == [None, None, 2.0]
    stages = results.stages[0]
    assert stages.per_clip == pytest.approx({OPEN: 0.02, DECODE: 0.11, "other": 0.07})
    assert stages.covered == pytest.approx(0.65)
    assert results.agreement(stages) == pytest.approx(1.0)


def test_markdown_json_and_figure(results, tmp_path):
    lines = to_markdown(results).splitlines()
    assert "| 64x48 | 2 | 2,000,000 | 0.8 | 300 | 250 |" in lines
    assert "| 64x48 | pytorchvideo | one core | 600 ms (300 ms to 1.20 s) | 1.67 | 3.00x | - |" in lines
    assert "| 64x48 resized | transm3e | one core | 100 ms (50 ms to 200 ms) | 10 | - | 2.00x |" in lines
    assert "| 64x48 | transm3e | 20 | 110 | 70 | 200 | 65.0% | 100% |" in lines
    assert any(line.startswith("- the machine was busy") for line in lines)
    values = json.loads(results.as_json())
    assert values["throughputs"][1]["times_slower_than_ours"] == 3.0
    assert values["stages"][0]["covered"] == pytest.approx(0.65)
    assert values["file_sets"][0]["films"][0]["path"] == "a.mp4"
    draw(results, tmp_path / "loader.png")
    assert (tmp_path / "loader.png").read_bytes().startswith(b"\x89PNG")


def test_the_tool_in_small(repo, tmp_path, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("benchmark_tool", repo / "tools" / "benchmark.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    words = ["loader", "--files", "64x48", "--videos", "1", "--views", "1", "--workers", "1", "--repeats", "1"]
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *words, "--out", str(tmp_path / "out")])
    assert tool.main() == 0
    shown = capsys.readouterr().out
    assert (tmp_path / "out" / "loader.md").read_text() == shown
    assert "| 64x48 | pytorchvideo | 1 process |" in shown
    assert (tmp_path / "out" / "loader.png").read_bytes().startswith(b"\x89PNG")
    values = json.loads((tmp_path / "out" / "loader.json").read_text())
    assert len(values["throughputs"]) == 2 * 2 * 2  # original and resized, two loaders, one core and one process
    for row in values["stages"]:
        assert min(row["s_per_clip"].values()) >= 0
        assert {OPEN, SEEK, DECODE, CROP, AUGMENT, "collate"} <= set(row["s_per_clip"])
    # Nothing that takes long is left out: it would be in each of a loader's rows, other programs' work may be in one.
    for name in {row["name"] for row in values["stages"]}:
        assert max(row["covered"] for row in values["stages"] if row["name"] == name) > 0.8
    assert cores is None or os.sched_getaffinity(0) == cores
