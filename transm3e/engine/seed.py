"""Random numbers that depend on the position in training, not on how it was reached."""

from __future__ import annotations

import os

import numpy as np
import torch


def seed_step(seed: int, epoch: int, step: int, rank: int) -> None:
    """Seed dropout and drop path for one forward pass.

    A run resumed at any step therefore draws the same numbers as an uninterrupted run, without saved generator state.
    """
    torch.manual_seed(int(np.random.SeedSequence((seed, epoch, step, rank)).generate_state(1, np.uint64)[0] >> 1))


def set_deterministic(on: bool) -> None:
    """Make torch use only deterministic operations, or any; call it before the first work on a GPU.

    torch raises a RuntimeError that names an operation for which it has no deterministic version; training makes a message
    of it (transm3e.engine.faults.determinism_advice).
    """
    if on:
        # cuBLAS needs it, and reads it when its first handle is made.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Measures cuDNN's kernels, and ours for pooling (transm3e.layers.pooling_choice), at the first step of each shape.
    torch.backends.cudnn.benchmark = not on
    torch.backends.cudnn.deterministic = on
    # Only if it changes: the call imports torch's compiler, which takes more than a second.
    if on != torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(on)
