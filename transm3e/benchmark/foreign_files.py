"""Which of PySlowFast's config files load here: each file's model and parameters, or why it is refused, as a Markdown table."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from transm3e.config import load_cfg
from transm3e.config.load import KEY
from transm3e.errors import UserError
from transm3e.models import build_model, count_parameters


def foreign_rows(folder: Path) -> Iterator[tuple[str, str]]:
    """Name and result of every YAML file under PySlowFast's folder of configs, in the order of their names.

    Nothing is allocated: models are built on the meta device.
    """
    for file in sorted(folder.rglob("*.yaml")):
        yield file.relative_to(folder).with_suffix("").as_posix(), result_of(file)


def result_of(file: Path) -> str:
    """A file's model and parameters under PROTOCOL pyslowfast, or the reason why it is refused, without the file's name."""
    try:
        cfg = load_cfg(file, [KEY, "pyslowfast"])
        with torch.device("meta"):
            model = build_model(cfg)
    except UserError as error:
        why = str(error).removeprefix(f"{file}: ").removesuffix("; set that or remove the key")
        return f"refused: {why.replace('|', ' ')}"
    arch = f" {cfg.MODEL.ARCH}" if "MODEL.ARCH" in type(model).config_keys else ""
    return f"{cfg.MODEL.MODEL_NAME}{arch}, {count_parameters(model):,}"


def foreign_table(folder: Path) -> str:
    """foreign_rows as Markdown."""
    return "\n".join(["| file | model, parameters |", "|---|---|", *(f"| {name} | {row} |" for name, row in foreign_rows(folder))])


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    print(foreign_table(Path(sys.argv[1])))
