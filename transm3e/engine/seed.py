"""Random numbers that depend on where training stands, not on how it got there."""

from __future__ import annotations

import os

import numpy as np
import torch


def seed_step(seed: int, epoch: int, step: int, rank: int) -> None:
    """Seed dropout and drop path for one forward pass.

    A run resumed at any step therefore draws what the uninterrupted run drew, and no generator state is saved.
    """
    torch.manual_seed(int(np.random.SeedSequence((seed, epoch, step, rank)).generate_state(1, np.uint64)[0] >> 1))


def set_deterministic(on: bool) -> None:
    """Have torch take only operations that give the same bits every time, or any; before the first work on a GPU.

    torch raises a RuntimeError, which names it, at an operation that it has in no such form.
    """
    if on:
        # What cuBLAS needs for it; read when its first handle is made.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = on
    # Only where it changes: the call imports torch's compiler, which takes more than a second.
    if on != torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(on)
