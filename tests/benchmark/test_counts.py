"""A training step's counts, exactly: a change that makes it dearer on a GPU is noticed without one.

MViTs have three of their blocks here. The counts may change with torch, so they are held for the version of constraints.txt.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from transm3e.benchmark.candidate import build_entries
from transm3e.benchmark.counts import DEVICE, LEAST_TIME, OLDEST, PHASES, Counts, _Counter, count_step

ROOT = Path(__file__).parents[2]
BLOCKS = (
    *("MVIT.DEPTH", "3", "MVIT.DIM_MUL", "[[1, 2.0]]", "MVIT.HEAD_MUL", "[[1, 2.0]]"),
    *("MVIT.POOL_Q_STRIDE", "[[0, 1, 1, 1], [1, 1, 2, 2], [2, 1, 1, 1]]"),
)
TORCH = next(
    line.strip().partition("==")[2]
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line.startswith("torch==")
)
# Config -> launches forward, backward and in the update; bytes read and written; bytes kept for the backward pass.
EXPECTED = {
    "mvitv2_s": ((207, 359, 26), 3_936_936_132, 315_485_172),
    "transm3e_s": ((540, 572, 31), 4_770_239_776, 318_913_416),
    "stgcn": ((197, 230, 21), 429_206_568, 37_666_672),
}


pytestmark = pytest.mark.skipif(torch.__version__ < OLDEST, reason="this torch calls CUDA for FakeTensors")


@pytest.mark.parametrize("config", EXPECTED)
def test_a_step_costs_what_it_did(config):
    opts = () if config == "stgcn" else (*BLOCKS, "INIT.OPTS", str(list(BLOCKS)))
    [entry], _ = build_entries([str(ROOT / f"configs/MuscleMap136/{config}.yaml")], "none", opts)
    found = count_step(entry, "fp16", 2)
    # One read of the step's numbers, and nothing else that the processor waits for, whatever the version.
    assert found.waits.total() == 1
    assert not found.copies
    if torch.__version__.partition("+")[0] != TORCH:
        pytest.skip(f"the counts are those of torch {TORCH}")
    assert (tuple(found.kernels[phase] for phase in PHASES), found.moved, found.saved) == EXPECTED[config]


def test_operations_are_counted_as_by_hand():
    counts = Counts(1)
    with FakeTensorMode(), _Counter(counts):
        a, b = (torch.empty(size, dtype=torch.float16, device=DEVICE) for size in ((4, 8), (8, 2)))
        total = a @ b  # 8 x 4 + 8 x 2 in, 4 x 2 out
        total.t().view(2, 4).add_(1)  # in place, 4 x 2 in and out
        F.conv3d(a.view(1, 4, 2, 2, 2), a.view(4, 1, 2, 2, 2), groups=4)  # one place of each channel, 8 places read
    assert counts.kernels.total() == 3
    assert counts.moved == 2 * (32 + 16 + 8 + 2 * 8 + 32 + 32 + 4)
    assert counts.operations == 2 * (4 * 8 * 2 + 4 * 8)
    assert counts.seconds["V100"] == pytest.approx(3 * LEAST_TIME)
