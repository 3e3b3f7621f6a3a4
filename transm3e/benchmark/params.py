"""Numbers of parameters: of table 2's models beside the published ones, and of any config part by part.

Models are built on the meta device, which holds only shapes and so takes neither time nor memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import nn

from transm3e.benchmark.candidate import Entry, build_candidate
from transm3e.benchmark.markdown import table
from transm3e.benchmark.params_rows import ROWS, PublishedRow
from transm3e.config import load_cfg
from transm3e.files import atomic_write_text
from transm3e.models import build_model, count_parameters
from transm3e.tasks import Distill

META = torch.device("meta")
TEACHER = "teacher"
# A part with more than this share of its model's parameters is split into its own parts.
LARGE_SHARE = 0.5


@dataclass(frozen=True)
class CountedRow:
    """A row of table 2 with our counts.

    Attributes:
        row: the expected values.
        count: parameters of the config's model.
        as_published: the same with the row's `published_opts`.
    """

    row: PublishedRow
    count: int
    as_published: int

    @property
    def problems(self) -> list[str]:
        """A line for each count that differs from the expected one."""
        row = self.row
        checks = [("", self.count, row.expected)]
        if row.published_opts and row.published is not None:
            checks.append((f" with {' '.join(row.published_opts)}", self.as_published, row.published))
        return [
            f"{row.label}: {row.path}{where} has {count:,} parameters, not {expected:,} ({row.variant})"
            for where, count, expected in checks
            if count != expected
        ]


@dataclass(frozen=True)
class CountedPart:
    """Parameters of a part of a config's model: all of them, and those that training changes."""

    name: str
    total: int
    trainable: int


def count_rows(rows: Sequence[PublishedRow] = ROWS) -> list[CountedRow]:
    """Build every row's model and count.

    Raises:
        UserError: a config is missing or wrong.
    """
    found = []
    for row in rows:
        count = published = count_parameters(_build_on_meta(load_cfg(row.path)))
        if row.published_opts:
            published = count_parameters(_build_on_meta(load_cfg(row.path, row.published_opts)))
        found.append(CountedRow(row, count, published))
    return found


def count_parts(paths: Sequence[str], opts: Sequence[str] = ()) -> dict[str, list[CountedPart]]:
    """Config -> the parts of its model; none for a model without weights; of TASK distill, last, the frozen teacher.

    Args:
        paths: config files.
        opts: KEY VALUE words, for all of them.

    Raises:
        UserError: a config is wrong.
    """
    found = {}
    for path in paths:
        cfg = load_cfg(path, opts)
        model = _build_on_meta(cfg)
        opened = _large_modules(model)
        parts: dict[str, list[nn.Parameter]] = {}
        for name, parameter in model.named_parameters():
            parts.setdefault(_part_name(name, opened), []).append(parameter)
        if cfg.TASK == "distill":
            task = build_candidate(Entry(path, path, path, tuple(opts)), META).task
            assert isinstance(task, Distill)
            parts[TEACHER] = list(task.teacher.parameters())
        found[path] = [
            CountedPart(name, sum(p.numel() for p in some), sum(p.numel() for p in some if p.requires_grad))
            for name, some in parts.items()
        ]
    return found


def rows_markdown(counted: Sequence[CountedRow]) -> str:
    """Table 2's #PM: ours, the published model's, the paper's."""
    cells = []
    for one in counted:
        row = one.row
        published = "-" if row.published is None else f"{row.published:,}"
        if row.published_opts:
            published += f" (as ours with {' '.join(row.published_opts)})"
        note = "; ".join(filter(None, [row.note, "MISMATCH" if one.problems else ""]))
        cells.append([row.label, f"`{row.path}`", f"{one.count:,}", published, row.variant, f"{row.paper}M", note])
    head = ["model", "config", "parameters", "published", "which", "paper (#PM)", "note"]
    return table(head, cells) + "\n"


def parts_markdown(counted: Mapping[str, Sequence[CountedPart]]) -> str:
    """Parts of configs, and the total of each config's model."""
    rows = []
    for config, parts in counted.items():
        model, teacher = ([part for part in parts if (part.name == TEACHER) == other] for other in (False, True))
        whole = CountedPart("**model**", sum(part.total for part in model), sum(part.trainable for part in model))
        rows += [[config, p.name, f"{p.total:,}", f"{p.trainable:,}"] for p in (*model, whole, *teacher)]
    return table(["config", "part", "parameters", "trainable"], rows) + "\n"


def keep_params(markdown: str, counted: Any, folder: str | None) -> str:
    """Write a table and its counts (of count_rows or count_parts), if a folder is named; returns the table.

    Raises:
        UserError: the files cannot be written.
    """
    if folder:
        if isinstance(counted, Mapping):
            values: Any = {config: [asdict(part) for part in parts] for config, parts in counted.items()}
        else:
            values = [asdict(one) | {"problems": one.problems} for one in counted]
        atomic_write_text(Path(folder) / "params.md", markdown)
        atomic_write_text(Path(folder) / "params.json", json.dumps(values, indent=1) + "\n")
    return markdown


def _large_modules(model: nn.Module) -> set[str]:
    """Names of modules whose parts are shown: the model and, level by level, its dominant part, down to numbered blocks.

    Numbered blocks are shown one by one only if they hold all parameters.
    """
    whole = count_parameters(model)
    opened, name, module = {""}, "", model
    while not _is_numbered(module):
        shares = {child: count_parameters(part) / whole for child, part in module.named_children()} if whole else {}
        child = max(shares, key=lambda part: shares[part], default="")
        if not child or shares[child] <= LARGE_SHARE:
            break
        module = module.get_submodule(child)
        if _is_numbered(module) and shares[child] < 1:
            break
        name = f"{name}.{child}" if name else child
        opened.add(name)
    return opened


def _is_numbered(module: nn.Module) -> bool:
    return isinstance(module, nn.ModuleList | nn.Sequential)


def _part_name(parameter: str, opened: set[str]) -> str:
    """The first words of a parameter's name, up to a module that is not opened."""
    words = parameter.split(".")
    return next(name for n in range(1, len(words) + 1) if (name := ".".join(words[:n])) not in opened)


def _build_on_meta(cfg: CfgNode) -> nn.Module:
    with META:
        return build_model(cfg)
