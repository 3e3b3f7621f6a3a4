"""The data sets that a table can be made on, and what a leaf of configs/MuscleMap136/ is called there."""

from __future__ import annotations

# Data set -> whether its leaves are at full size; those of the others are at the size of the demo.
DATASETS = {
    "MuscleMap136": True,
    "MuscleUCF90": True,
    "MuscleHMDB41": True,
    "MuscleSynth": False,
    "FreeExercise": False,
}
# The paper's ablations are on it.
MAIN = "MuscleMap136"
# Its leaves are what a row is at the size of the demo.
DEMO = "MuscleSynth"
# Leaf at full size -> at the size of the demo; one that is not listed has one name everywhere.
DEMO_LEAF = {
    "c2d_r50": "c2d",
    "deit_s": "deit",
    "i3d_r50": "i3d",
    "logits_kd_s": "logits_kd",
    "mcts_flow_s": "mcts_flow",
    "mcts_rgb_b": "mcts_rgb_deep",
    "mcts_rgb_diff_b": "mcts_rgb_diff_deep",
    "mcts_rgb_diff_s": "mcts_rgb_diff",
    "mcts_rgb_s": "mcts_rgb",
    "mvitv2_b": "mvitv2_deep",
    "mvitv2_s": "mvitv2",
    "slow_r50": "slow",
    "slowfast_r50": "slowfast",
    "transm3e_b": "transm3e_deep",
    "transm3e_s": "transm3e",
    "two_branch_s": "two_branch",
    "videoswin_b": "videoswin_wide",
    "videoswin_s": "videoswin",
}


def leaf_name(config: str, dataset: str) -> str:
    """What the leaf `config` of configs/MuscleMap136/ is called in configs/<dataset>/."""
    return config if DATASETS[dataset] else DEMO_LEAF.get(config, config)
