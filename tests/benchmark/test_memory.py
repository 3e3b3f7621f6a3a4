"""Peak memory of what is known, and of a process that measures a candidate."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from transm3e.benchmark import memory
from transm3e.benchmark.candidate import Entry, build_candidate
from transm3e.benchmark.memory import Request, available_memory, build_pass, check_too_large, cpu_peak, main
from transm3e.engine.precision import Precision
from transm3e.errors import UserError

MIB = 2**20
# 100 MiB are held, 300 were freed before; the call needs 150 and then 120 + 80 at once. Then the same without a mark
# that can be reset.
KNOWN = """
import torch
from transm3e.benchmark import memory
MIB = 2**20
def block(mib):
    return torch.ones(mib * MIB // 4)
held = block(100)
freed = block(300)
del freed
def call():
    first = block(150)
    del first
    second = block(120)
    third = block(80)
print(memory.resident_peak(call).size_bytes / MIB)
memory._reset_high_water_mark = lambda: False
print(memory.resident_peak(lambda: block(550)).size_bytes / MIB)
print(memory.resident_peak(lambda: block(10)).size_bytes / MIB)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="this system cannot reset the high-water mark")
def test_a_known_allocation(repo):
    out = subprocess.run([sys.executable, "-c", KNOWN], cwd=repo, capture_output=True, text=True, check=True).stdout
    by_mark, by_highest, smaller = map(float, out.split())
    assert by_mark == pytest.approx(200, rel=0.1)
    assert by_highest == pytest.approx(550, rel=0.1)
    # Without a mark that can be reset what was largest before stays largest.
    assert smaller == pytest.approx(550, rel=0.1)


def request(file, mode="train", batch_size=2, limit=0):
    return Request(Entry(file.stem, str(file), str(file)), mode, batch_size, "float32", 1, limit)


def test_a_candidate_in_its_own_process(student_file):
    peak = cpu_peak(request(student_file))
    assert peak.method in ("VmHWM", "highest size of the process")
    assert 0 < peak.size_bytes < 500 * MIB


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux enforces the limit")
def test_too_little_memory(tiny_file):
    assert cpu_peak(request(tiny_file, "forward", batch_size=30_000, limit=512 * MIB)) is None


def test_a_mistake_in_the_process_ends_it_with_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main([json.dumps(asdict(request(tmp_path / "none.yaml")))])
    assert end.value.code == 2
    assert "cannot read the config" in capsys.readouterr().err


def test_what_the_process_says_becomes_a_users_error(tmp_path, monkeypatch):
    done = subprocess.CompletedProcess([], 2, stdout="", stderr="a warning\nerror: no such file\n")
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: done)
    with pytest.raises(UserError, match=r"memory of none \(train, batch 2\) could not be measured: no such file"):
        cpu_peak(request(tmp_path / "none.yaml"))


def test_available_memory():
    size = available_memory()
    assert size is None or size > MIB


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({"max": "1000", "current": "400", "stat": "anon 350\ninactive_file 30\n"}, 630),
        ({"max": "1000", "current": "400"}, 600),
        ({"max": "1000", "current": "1200"}, 0),
    ],
)
def test_a_container_leaves_its_limit_less_what_is_used(tmp_path, monkeypatch, files, left):
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    unlimited = available_memory()
    for name, text in files.items():
        (tmp_path / f"memory.{name}").write_text(f"{text}\n")
    if unlimited is None:
        pytest.skip("the available memory is unknown on this system")
    assert available_memory() == left
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory() == pytest.approx(unlimited, rel=0.5)


def test_every_error_that_means_out_of_memory(capsys):
    for error in [
        MemoryError(),
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("Expected canUse32BitIndexMath(input) && canUse32BitIndexMath(output) to be true"),
        RuntimeError("input tensor must fit into 32-bit index math"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ]:
        check_too_large(error, "ours (train, batch 8)")
        note = capsys.readouterr().err
        assert note.startswith("note: ours (train, batch 8) does not fit: ")
        assert note.count("\n") == 1


def test_other_errors_stay_errors():
    for error in [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("32-bit index")]:
        with pytest.raises(type(error)) as caught:
            check_too_large(error, "ours")
        assert caught.value is error


def test_compiling_is_over_before_a_peak_is_measured(tiny_file, monkeypatch):
    calls = []
    candidate = build_candidate(request(tiny_file).entry, torch.device("cpu"))
    monkeypatch.setattr(memory, "backward_call", lambda *_: lambda: calls.append(1))
    precision = Precision(torch.device("cpu"), torch.float32)
    build_pass(candidate, "train", 2, precision)
    assert calls == []
    candidate.compiled = True
    build_pass(candidate, "train", 2, precision)
    assert calls == [1]
    build_pass(candidate, "forward", 2, precision)
    assert calls == [1]
