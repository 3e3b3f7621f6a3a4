"""Small clips for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from transm3e.data.annotations import EVAL_SPLITS, Clip, write_clip_table
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


def make_learnable_data(root: Path, per_split: int = 16) -> Path:
    """Make clips that models tell apart within seconds: coloured squares that move over noise, 12 frames of 48x48.

    Each colour stands for three muscles or four; the new activities are two colours at once.
    """
    rng, clips = np.random.default_rng(0), []
    colours = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1]]) * 255
    new = [(0, 2), (1, 5), (3, 4), (0, 4)]
    for split in ("train",) * 3 + EVAL_SPLITS:
        for _ in range(per_split):
            number = len(clips)
            shown = new[number % len(new)] if split.startswith("new") else (number % len(colours),)
            frames = rng.integers(0, 64, (12, 48, 48, 3), dtype=np.uint8)
            for colour in shown:
                y, x = rng.integers(0, 32, 2)
                for n, frame in enumerate(frames):
                    frame[y : y + 16, (x + 5 * n) % 32 :][:, :16] = colours[colour]
            write_video(root / f"{number}.mp4", frames, fps=8)
            muscles = tuple(muscle for muscle in range(20) if muscle % len(colours) in shown)
            clips.append(Clip(f"{number}.mp4", split, f"activity {shown}", muscles))
    write_clip_table(root / "clips.csv", clips)
    return root
