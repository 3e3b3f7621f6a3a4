"""Random numbers that depend on where training stands, not on how it got there."""

from __future__ import annotations

import numpy as np
import torch


def seed_step(seed: int, epoch: int, step: int, rank: int) -> None:
    """Seed dropout and drop path for one forward pass.

    A run resumed at any step therefore draws what the uninterrupted run drew, and no generator state is saved.
    """
    torch.manual_seed(int(np.random.SeedSequence((seed, epoch, step, rank)).generate_state(1, np.uint64)[0] >> 1))
