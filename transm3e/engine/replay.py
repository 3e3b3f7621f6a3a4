"""Replay of a step whose loss or gradient was not finite, to find the module it began in (tools/show_batch.py --bad)."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from transm3e.config.check import check_cfg
from transm3e.config.load import cfg_from_text
from transm3e.config.node import merge_opts
from transm3e.config.schema import KEYS
from transm3e.data.geometry import Box
from transm3e.data.mixup import Mix
from transm3e.data.types import Batch
from transm3e.engine.faults import ANOMALY, BAD_WEIGHTS, POSITION, BadStep, clip_names
from transm3e.engine.precision import Precision
from transm3e.engine.resume import TRAINED
from transm3e.engine.seed import seed_step
from transm3e.errors import UserError, disk_faults, first_line
from transm3e.foreign.torch_file import load_torch
from transm3e.models.weights import read_checkpoint
from transm3e.tasks import Classify, build_task

# No starting weights: the step's own are loaded.
NO_START = [word for key in ("INIT.STUDENT_FROM", "TRAIN.CHECKPOINT_FILE_PATH") for word in (key, KEYS[key].default)]
FRAME = re.compile(r'File "(.+)", line (\d+), in (\w+)\n\s+(.+)')


def read_bad_step(file: Path) -> BadStep:
    """Read bad_batch_rank_N.pt.

    Raises:
        UserError: the file is missing, damaged, or of another kind.
    """
    try:
        with disk_faults():
            plain = load_torch(file)
        numbers = {name: int(plain[name]) for name in ("epoch", "step", "seed", "rank", "accum_steps")}
        batches = [_batch(batch) for batch in plain["batches"]]
        if not batches:
            raise ValueError("no batch in it")
        return BadStep(str(plain["what"]), float(plain["value"]), batches=batches, **numbers)
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(
            f"no file {file}; a run whose loss is NaN writes bad_batch_rank_N.pt into its folder"
        ) from error
    except Exception as error:  # a damaged file makes torch raise nearly anything
        raise UserError(f"{file}: not a batch that a training saved ({first_line(error)})") from error


def read_bad_state(file: Path, bad: BadStep) -> dict[str, Any]:
    """Read the weights and state of the step, from the file beside its batch.

    Raises:
        UserError: the file is missing, damaged, or of another step.
    """
    state = read_checkpoint(file.with_name(BAD_WEIGHTS))
    if state.get(POSITION) != [bad.epoch, bad.step]:
        raise UserError(f"{file.with_name(BAD_WEIGHTS)} is of another step than {file}; use files of one run")
    return state


def replay_cfg(state: Mapping[str, Any], opts: Sequence[str]) -> CfgNode:
    """The run's config, changed by `opts` (KEY VALUE words) and without starting weights."""
    cfg = cfg_from_text(state.get("cfg", ""), where=f"the config inside {BAD_WEIGHTS}")
    cfg.defrost()
    merge_opts(cfg, [*NO_START, *opts])
    check_cfg(cfg)
    cfg.freeze()
    return cfg


def replay(bad: BadStep, state: Mapping[str, Any], cfg: CfgNode, device: torch.device) -> tuple[Batch, list[str]]:
    """Run the step's batches forward and backward as it did, up to the first value that is not finite.

    Returns:
        The batch with that value (the last one if all are finite), and lines of text that say what it is and where it begins.

    Raises:
        UserError: the weights do not fit the config.
    """
    task, precision = build_task(cfg, device), Precision.from_cfg(cfg, device)
    try:
        task.model.load_state_dict(state.get(TRAINED, state["model_state"]))
        task.load_state(state["task_state"])
        if precision.scaler.is_enabled() and state["scaler_state"]:
            precision.scaler.load_state_dict(state["scaler_state"])
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{BAD_WEIGHTS} does not fit this config ({first_line(error)}); leave out the KEY VALUE options"
        ) from error
    return find_non_finite(bad, task, precision)


def find_non_finite(bad: BadStep, task: Classify, precision: Precision) -> tuple[Batch, list[str]]:
    """As replay, with a task that already has the step's weights."""
    lines = []
    bad_weights = [name for name, weight in task.model.named_parameters() if not_finite(weight)]
    if bad_weights:
        lines = [f"not finite before the step: the weights {', '.join(bad_weights[:3])} ({len(bad_weights)} in all)"]
    for number, batch in enumerate(bad.batches):
        task.train()
        seed_step(bad.seed, bad.epoch, bad.step * bad.accum_steps + number, bad.rank)
        if found := _of_batch(task, batch, precision, bad.accum_steps):
            return batch, [
                *lines,
                f"batch {number + 1} of {len(bad.batches)} in the step, {clip_names(batch.paths)}",
                *found,
            ]
    lines.append(
        "all values are finite here: the cause may be the batch of another process (the other files), a batch norm over "
        "all processes, or the device that the run used (NUM_GPUS)"
    )
    return bad.batches[-1], lines


def not_finite(value: Any) -> str:
    """Text that counts the values that are not finite in all tensors of `value`; "" if there are none."""
    tensors = [tensor for tensor in _tensors(value) if tensor.is_floating_point()]
    nan, infinite = (sum(int(test(tensor).sum()) for tensor in tensors) for test in (torch.isnan, torch.isinf))
    total = sum(tensor.numel() for tensor in tensors)
    return f"{nan} NaN and {infinite} infinite of {total} values" if nan or infinite else ""


def _of_batch(task: Classify, batch: Batch, precision: Precision, accum_steps: int) -> list[str]:
    with _first_output(task) as found, warnings.catch_warnings(record=True) as caught, torch.autograd.detect_anomaly():
        warnings.simplefilter("always")
        with precision.autocast():
            out = task(batch.to(precision.device))
        scalars = {name: value.item() for name, value in out.items() if value.dim() == 0}
        losses = ", ".join(f"{name} {value:g}" for name, value in scalars.items())
        if found:
            return [*found, losses]
        if not_finite(out["loss"]):
            return [
                f"the outputs of all modules are finite, the loss is not ({losses}): look at the labels and the loss"
            ]
        try:
            precision.scaler.scale(out["loss"] / accum_steps).backward()
        except RuntimeError as error:
            if ANOMALY not in str(error):
                raise
            return [
                f"the forward pass is finite ({losses}), the backward pass not: {first_line(error)}, of {_line_of(caught)}"
            ]
    of_weights = [name for name, p in task.model.named_parameters() if p.grad is not None and not_finite(p.grad)]
    # The backward pass reaches the last module first.
    return [f"infinite gradients ({losses}), the first of {of_weights[-1]}"] if of_weights else []


@contextmanager
def _first_output(task: Classify) -> Iterator[list[str]]:
    """Meanwhile collect a line on the first module of the task whose output is not finite, in order of completion."""
    found: list[str] = []

    def look(name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if not found and (fault := not_finite(output)):
            read = not_finite((args, kwargs))
            origin = f"what it reads is not finite either ({read})" if read else "what it reads is finite"
            found.append(f"first output that is not finite: {name} ({type(module).__name__}), {fault}; {origin}")

    tops = {name: value for name, value in vars(task).items() if isinstance(value, nn.Module) and name != "replica"}
    with ExitStack() as stack:
        for top, parent in tops.items():
            for name, module in parent.named_modules(prefix=top):
                handle = module.register_forward_hook(partial(look, name), with_kwargs=True)
                stack.callback(handle.remove)
        yield found


def _line_of(caught: Sequence[warnings.WarningMessage]) -> str:
    """The line of the forward pass that torch's warning names, the last one outside torch if there is one."""
    frames = [frame for each in caught for frame in FRAME.findall(str(each.message))]
    own = [frame for frame in frames if "/torch/" not in frame[0]] or frames
    return "{}:{} in {}: {}".format(*own[-1]) if own else "an unknown line"


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _tensors(each)
    elif is_dataclass(value):
        yield from _tensors([getattr(value, field.name) for field in fields(value)])


def _batch(plain: Mapping[str, Any]) -> Batch:
    mix = plain["mix"]
    if mix is not None:
        mix = Mix(**{**mix, "box": Box(**mix["box"]) if mix["box"] else None})
    clips, labels, rows, views = (plain[name] for name in ("clips", "labels", "rows", "views"))
    batch = Batch(clips, labels, rows, views, [str(path) for path in plain["paths"]], [], int(plain["samples"]), mix)
    parts = (*batch.clips.values(), batch.labels, batch.rows, batch.views)
    if not batch.clips or not all(isinstance(part, Tensor) and len(part) == len(batch.paths) for part in parts):
        raise ValueError("its parts are not tensors with one row per clip")
    return batch
