"""Which of PySlowFast's config files load here, as a Markdown table: the model and its parameters, or why a file is refused.

`python -m transm3e.benchmark.foreign_files FOLDER`, where FOLDER is its folder `configs`.
"""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path

import torch

from transm3e.config import load_cfg
from transm3e.config.load import KEY
from transm3e.errors import UserError
from transm3e.modalities import model_class
from transm3e.models import build_model, count_parameters

HEADER = "| model, parameters | files |\n|---|---|"


def result_of(file: Path) -> str:
    """A file's model and parameters under PROTOCOL pyslowfast, or why it is refused; built on the meta device."""
    try:
        cfg = load_cfg(file, [KEY, "pyslowfast"])
        with torch.device("meta"):
            model = build_model(cfg)
    except UserError as error:
        why = str(error).removeprefix(f"{file}: ").partition(";")[0]
        return "refused: " + re.sub(r"^(\S+) is .*, but only (.+) is implemented$", r"\1 other than \2", why)
    arch = f" {cfg.MODEL.ARCH}" if "MODEL.ARCH" in model_class(cfg).config_keys else ""
    return f"{cfg.MODEL.MODEL_NAME}{arch}, {count_parameters(model):,}"


def foreign_table(folder: Path) -> str:
    """result_of every YAML file under a folder, files with the same result in one row; those that load come first."""
    rows: dict[str, list[str]] = {}
    for file in sorted(folder.rglob("*.yaml")):
        rows.setdefault(result_of(file), []).append(file.relative_to(folder).with_suffix("").as_posix())
    ordered = sorted(rows.items(), key=lambda row: row[0].startswith("refused"))
    return "\n".join([HEADER, *(f"| {result} | {', '.join(files)} |" for result, files in ordered)])


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    print(foreign_table(Path(sys.argv[1])))
