"""Small clips for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from transm3e.data.annotations import Clip, write_clip_table
from transm3e.data.encode import write_video


def make_noise_data(root: Path) -> Path:
    """Make a folder of sixteen training clips and two of each evaluation split, 8 frames of 48x32, and their table."""
    root.mkdir()
    rng, clips = np.random.default_rng(0), []
    for i, split in enumerate(["train"] * 16 + ["known_val", "new_val", "known_test", "new_test"] * 2):
        write_video(root / f"{i}.mp4", rng.integers(0, 256, (8, 32, 48, 3), dtype=np.uint8), fps=8)
        clips.append(Clip(f"{i}.mp4", split, f"activity {i % 3}", (i % 3, 3 + i % 2)))
    write_clip_table(root / "clips.csv", clips)
    return root
