"""A model whose parameters several processes share out among them (FSDP2), and the whole of it where it is needed.

Each process holds its part of every parameter, gradient and optimiser state. Before a block runs, forward or backward,
its parameters are gathered; after the backward pass its gradients are averaged and each process keeps its part.
"""

from __future__ import annotations

import copy
import importlib
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from transm3e.engine.processes.distributed import is_main, meeting
from transm3e.errors import UserError
from transm3e.models.output import ModelOutput
from transm3e.tasks import Classify

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
# What a model calls the list of its repeated blocks.
BLOCKS = "blocks"


def shard(task: Classify, device: torch.device, validate: Callable[[], Result]) -> Callable[[], Result]:
    """Share the parameters of a task's model out among all processes, which call this together; a teacher stays whole.

    Returns:
        validate, but that the task's model is whole meanwhile: no process has to wait for another one there.

    Raises:
        UserError: this torch cannot do it.
    """
    if not dist.is_initialized():
        logger.warning("TRAIN.FSDP has no effect: there is one process")
        return validate
    twin = _hollow(task.model)
    task.model = task.replica = shard_model(task.model, device)

    def validate_whole() -> Result:
        with _whole_model(task, twin):
            return validate()

    return validate_whole


def shard_model(model: nn.Module, device: torch.device) -> nn.Module:
    """The same model, its parameters in shards: one unit for each of its blocks, if it has such, and one for the rest.

    It goes on taking and giving state dicts by the names it had: it takes whole tensors, and gives shards (whole_state).

    Raises:
        UserError: this torch cannot do it.
    """
    fully_shard = _feature("fully_shard", "torch.distributed.fsdp")
    init_device_mesh = _feature("init_device_mesh", "torch.distributed.device_mesh")
    _open_output()
    # It warns of blocks that return views, which must not be written over. Nothing here writes over a block's output.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view", UserWarning)
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    with meeting("the comparison of models"), torch.no_grad():
        # Every process keeps its part of what it has: they must have the same.
        for tensor in (*model.parameters(), *model.buffers()):
            dist.broadcast(tensor.data, 0)
        for unit in (*_blocks(model), model):
            fully_shard(unit, mesh=mesh)
    model._register_load_state_dict_pre_hook(_take_whole, with_module=True)
    return model


def is_sharded(model: nn.Module) -> bool:
    """Whether shard_model has made it so."""
    return hasattr(model, "set_requires_gradient_sync")


def whole(tensor: Tensor) -> Tensor:
    """A tensor, gathered if it is in shards; all processes call this."""
    return cast(Any, tensor).full_tensor() if _in_shards(tensor) else tensor


def whole_state(state: Any) -> Any:
    """A state of plain values with whole tensors in place of shards, on the CPU; all processes call this.

    One tensor after the other is whole on the device. Only the main process gets them, the others None in their place.
    """
    with meeting("the gathering of a checkpoint"):
        return _whole_state(state)


def shard_state(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimiser's state of whole tensors as an optimiser of sharded parameters takes it; all processes call this.

    Raises:
        KeyError, TypeError: it is the state of another optimiser.
    """
    parameters = dict(enumerate(p for group in optimizer.param_groups for p in group["params"]))
    if not any(_in_shards(parameter) for parameter in parameters.values()):
        return state
    with meeting("the sharing of a checkpoint"):
        entries = {
            number: {name: _shard_like(value, parameters[number]) for name, value in entry.items()}
            for number, entry in state["state"].items()
        }
    return {**state, "state": entries}


def _blocks(model: nn.Module) -> Iterator[nn.Module]:
    for name, module in model.named_modules():
        if name.rpartition(".")[2] == BLOCKS and isinstance(module, nn.ModuleList):
            yield from module


def _hollow(model: nn.Module) -> nn.Module:
    """A copy whose parameters have no memory."""
    empty = {id(p): nn.Parameter(p.detach().new_empty(0), requires_grad=False) for p in model.parameters()}
    return copy.deepcopy(model, empty)


@contextmanager
def _whole_model(task: Classify, twin: nn.Module) -> Iterator[None]:
    """Within, the task's model is a plain one with the parameters of all processes, and the main one's buffers."""
    sharded = task.model
    with meeting("the gathering of parameters"), torch.no_grad():
        for mine, theirs in zip(twin.parameters(), sharded.parameters(), strict=True):
            mine.data = whole(theirs.detach())
        for buffer, trained in zip(twin.buffers(), sharded.buffers(), strict=True):
            buffer.copy_(trained)
            dist.broadcast(buffer, 0)
    task.model = twin
    try:
        yield
    finally:
        task.model = sharded
        for mine in twin.parameters():
            mine.data = mine.new_empty(0)


def _take_whole(model: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Before a sharded model takes a state dict: its own part of what is whole there."""
    with meeting("the sharing of a checkpoint"):
        for name, parameter in model.named_parameters(prefix.removesuffix(".")):
            if name in state:
                state[name] = _shard_like(state[name], parameter)


def _shard_like(value: Any, parameter: Any) -> Any:
    """This process's part of a whole tensor of a sharded parameter's shape; anything else as it is."""
    if not isinstance(value, Tensor) or _in_shards(value) or not _in_shards(parameter) or not value.dim():
        return value
    distribute_tensor = _feature("distribute_tensor", "torch.distributed.tensor")
    return distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements)


def _whole_state(state: Any) -> Any:
    if isinstance(state, dict):
        return type(state)((key, _whole_state(value)) for key, value in state.items())
    if isinstance(state, (list, tuple)):
        return type(state)(_whole_state(value) for value in state)
    if not _in_shards(state):
        return state
    gathered = state.full_tensor()
    return gathered.cpu() if is_main() else None


def _in_shards(value: Any) -> bool:
    # Without the import of DTensor, which takes a second that most runs have no use for.
    return isinstance(value, Tensor) and hasattr(value, "full_tensor")


@cache
def _open_output() -> None:
    """Let FSDP find the tensors in what a model returns; without it, older ones reduce no gradients of the last unit."""
    _feature("register_dataclass", "torch.export")(ModelOutput)


def _feature(name: str, place: str) -> Any:
    """A part of torch that older versions have not, or elsewhere; imported when it is asked for, as most runs do not.

    Raises:
        UserError: it is not there.
    """
    try:
        return getattr(importlib.import_module(place), name)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"TRAIN.FSDP needs {name} of {place}, which torch {torch.__version__} has not; install torch 2.6 or newer, or "
            "set TRAIN.FSDP False"
        ) from error
