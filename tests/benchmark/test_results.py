"""Ratios, shares, tables, JSON and figure of known values."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from transm3e.benchmark.figure import draw
from transm3e.benchmark.flops import Work
from transm3e.benchmark.markdown import to_markdown
from transm3e.benchmark.memory import Peak
from transm3e.benchmark.results import Measurement, Parameters, Properties, Results, faster

MIB = 2**20


def properties(name, teacher=0):
    return Properties(name, f"{name}.yaml", (4, 32, 32), Parameters(10, 12, teacher), Work(5 * 10**9, {}, {"gelu": 3}))


def peak(mib):
    return Peak(mib * MIB, "VmHWM")


@pytest.fixture
def results():
    """Ours twice as fast in a third of the memory; the reference has no memory for 8 clips."""
    return Results(
        command=["benchmark.py", "model"],
        machine={"cpu": "A CPU", "cores": 2, "threads": 2, "torch": "2.14", "torchvision": "0.29"},
        settings={"precision": "float32", "repeats": 3},
        matrix_rate=100e9,
        reference="theirs",
        candidates=[properties("ours", teacher=7), properties("theirs")],
        measurements=[
            Measurement("ours", 4, (1.0, 2.0, 4.0), "forward", peak(100)),
            Measurement("theirs", 4, (2.0, 4.0, 8.0), "forward", peak(300)),
            Measurement("ours", 8, (5.0, 5.0, 5.0), "train", peak(800)),
            Measurement("theirs", 8, (), "train"),
        ],
    )


def test_ratios_and_shares(results):
    ours, theirs, train, failed = results.measurements
    assert faster(ours, results.reference_of(ours)) == 2.0
    assert [faster(one, results.reference_of(one)) for one in (theirs, train, failed)] == [None, None, None]
    # 4 clips of 5 GMAC, 2 operations each, in 2 s at 100 GFLOP/s.
    assert results.matrix_share(ours) == pytest.approx(0.2)
    # 8 clips, 3 passes, in 5 s.
    assert results.matrix_share(train) == pytest.approx(0.48)
    assert results.matrix_share(failed) is None


def test_markdown(results):
    lines = to_markdown(results).splitlines()
    assert "| ours | 4x32x32 | 12 | 7 | 5 |" in lines
    assert "| theirs | 4x32x32 | 12 | - | 5 |" in lines
    assert "| forward | 4 | ours | 2.00 s (1.00 s to 4.00 s) | 2 | 2.00 | 3.00 | 100 MiB | 20% |" in lines
    assert "| train | 8 | theirs | does not fit | - | - | - | does not fit | - |" in lines
    assert "| train | 8 | ours | 5.00 s (5.00 s to 5.00 s) | 1.6 | - | - | 800 MiB | 48% |" in lines
    assert lines[-1] == "- not counted as work: gelu."
    tables = [line for line in lines if line.startswith("|")]
    assert {line.count("|") for line in tables[:4]} == {6}
    assert {line.count("|") for line in tables[4:]} == {10}


def test_markdown_without_a_reference(results):
    alone = Results(**{**vars(results), "reference": None})
    assert "faster" not in to_markdown(alone).split("\n\n")[2]
    assert {line.count("|") for line in to_markdown(alone).split("\n\n")[2].splitlines()} == {8}


def test_a_busy_machine_is_said_under_the_table(results):
    parts = to_markdown(results).split("\n\n")
    assert parts[-1].startswith(
        "- the machine was busy: the slowest round of ours (forward, 4 clips) took 2.0 times its median"
    )
    # 1.5 times is still taken for quiet.
    quiet = [replace(one, seconds=(1.0, 1.0, 1.5) if one.seconds else ()) for one in results.measurements]
    assert "busy" not in to_markdown(replace(results, measurements=quiet))
    assert "busy" not in to_markdown(replace(results, measurements=[]))


def test_what_of_the_configs_counts_is_said(results):
    text = to_markdown(results)
    assert "--precision decides for all; TRAIN.MIXED_PRECISION of the configs is not read" in text
    assert "TRAIN.COMPILE" not in text
    compiled = replace(results, candidates=[replace(results.candidates[0], compiled=True), results.candidates[1]])
    assert "- trained with a compiled step (TRAIN.COMPILE): ours; forward" in to_markdown(compiled)


def test_json(results):
    values = json.loads(results.as_json())
    ours, _, _, failed = values["measurements"]
    assert ours["seconds"] == [1.0, 2.0, 4.0]
    assert (ours["median_s"], ours["times_faster"], ours["does_not_fit"]) == (2.0, 2.0, False)
    assert ours["peak"] == {"size_bytes": 100 * MIB, "method": "VmHWM"}
    assert failed["does_not_fit"]
    assert values["machine"]["cpu"] == "A CPU"
    assert values["candidates"][0]["parameters"] == {"trainable": 10, "inference": 12, "teacher": 7}


def test_figure(results, tmp_path):
    draw(results, tmp_path / "model.png")
    assert (tmp_path / "model.png").read_bytes().startswith(b"\x89PNG")
    assert [file.name for file in tmp_path.iterdir()] == ["model.png"]
