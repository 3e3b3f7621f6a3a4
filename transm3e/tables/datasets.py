"""The data sets that a table can be made on, and what a leaf of configs/MuscleMap136/ is called there.

A data set of the user's own is a folder of leaves in configs/, named as those of configs/MuscleMap136/.
"""

from __future__ import annotations

from pathlib import Path

from transm3e.errors import UserError

# Those shipped -> whether their leaves are at full size; those of the others are at the size of the demo.
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
    f"{name}_s": name
    for name in ["logits_kd", "mcts_flow", "mcts_rgb", "mcts_rgb_diff", "mvitv2", "transm3e", "videoswin"]
}
DEMO_LEAF |= {f"{name}_b": f"{name}_deep" for name in ("mcts_rgb", "mcts_rgb_diff", "mvitv2", "transm3e")}
DEMO_LEAF |= {f"{name}_r50": name for name in ("c2d", "i3d", "slow", "slowfast")}
DEMO_LEAF |= {"deit_s": "deit", "two_branch_s": "two_branch", "videoswin_b": "videoswin_wide"}


def is_full_size(dataset: str) -> bool:
    """Whether its leaves are at full size and named so; a user's are."""
    return DATASETS.get(dataset, True)


def leaf_name(config: str, dataset: str) -> str:
    """What the leaf `config` of configs/MuscleMap136/ is called in configs/<dataset>/."""
    return config if is_full_size(dataset) else DEMO_LEAF.get(config, config)


def configs_folder(table: Path, dataset: str) -> Path:
    """The folder that holds the leaves of a data set in <dataset>/: the one around the table's, else ./configs.

    Raises:
        UserError: there is none.
    """
    folders = (table.parent.parent, Path("configs"))
    found = next((folder for folder in folders if any((folder / dataset).glob("*.yaml"))), None)
    if found is None:
        known = {leaf.parent.name for folder in folders for leaf in folder.glob("[A-Z]*/*.yaml")}
        raise UserError(
            f"no configs of the data set {dataset!r} in {' or '.join(map(str, folders))}; there are: "
            f"{', '.join(sorted(known)) or 'none'}; for data of your own write leaves as in configs/{MAIN}/"
        )
    return found
