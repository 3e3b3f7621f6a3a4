"""A model whose parameters are sharded over several processes (FSDP2), and whole tensors where they are needed.

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

from transm3e.engine.processes.distributed import collective, is_main
from transm3e.errors import UserError
from transm3e.models.output import ModelOutput
from transm3e.tasks import Classify

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
# What a model calls the list of its repeated blocks.
BLOCKS = "blocks"


def shard(task: Classify, device: torch.device, validate: Callable[[], Result]) -> Callable[[], Result]:
    """Shard the parameters of a task's model over all processes, which call this together; a teacher stays whole.

    Returns:
        `validate`, during which the task's model is whole: no process has to wait for another one there.

    Raises:
        UserError: this torch cannot do it.
    """
    if not dist.is_initialized():
        logger.warning("TRAIN.FSDP has no effect with one process")
        return validate
    twin = _copy_without_memory(task.model)
    task.model = task.replica = shard_model(task.model, device)

    def validate_whole() -> Result:
        with _whole_model(task, twin):
            return validate()

    return validate_whole


def shard_model(model: nn.Module, device: torch.device) -> nn.Module:
    """The same model with sharded parameters: one unit for each of its blocks, if it has any, and one for the rest.

    State dicts keep their names: it loads whole tensors and returns shards (see whole_state).

    Raises:
        UserError: this torch cannot do it.
    """
    fully_shard = _feature("fully_shard", "torch.distributed.fsdp")
    init_device_mesh = _feature("init_device_mesh", "torch.distributed.device_mesh")
    if device.type == "cpu" and not hasattr(torch.cpu.Stream, "record_event"):
        raise UserError(
            f"TRAIN.FSDP without a GPU does not work with torch {torch.__version__}; install torch 2.10 or newer, or set "
            "TRAIN.FSDP False"
        )
    _register_output()
    # FSDP warns of blocks that return views, which must not be changed in place; nothing here does that.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view", UserWarning)
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    with collective("the check that models are alike"), torch.no_grad():
        # Every process keeps its part of its own tensors, so these must be equal on all.
        for tensor in (*model.parameters(), *model.buffers()):
            dist.broadcast(tensor.data, 0)
        for unit in (*_blocks(model), model):
            fully_shard(unit, mesh=mesh)
    model._register_load_state_dict_pre_hook(_shard_before_load, with_module=True)
    return model


def is_sharded(model: nn.Module) -> bool:
    """Whether shard_model was applied."""
    return hasattr(model, "set_requires_gradient_sync")


def whole(tensor: Tensor) -> Tensor:
    """The whole tensor, gathered if it is sharded; all processes call this."""
    return cast(Any, tensor).full_tensor() if _is_sharded_tensor(tensor) else tensor


def whole_state(state: Any) -> Any:
    """A state with whole tensors on the CPU in place of shards; all processes call this.

    Tensors are gathered on the device one at a time. Only the main process gets them; the others get None instead.
    """
    with collective("the all-gather of a checkpoint"):
        return _whole_state(state)


def shard_state(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Shard an optimiser state of whole tensors for an optimiser of sharded parameters; all processes call this.

    Raises:
        KeyError, TypeError: the state is another optimiser's.
    """
    parameters = dict(enumerate(p for group in optimizer.param_groups for p in group["params"]))
    if not any(_is_sharded_tensor(parameter) for parameter in parameters.values()):
        return state
    with collective("the sharding of a checkpoint"):
        entries = {
            number: {name: _shard_like(value, parameters[number]) for name, value in entry.items()}
            for number, entry in state["state"].items()
        }
    return {**state, "state": entries}


def _blocks(model: nn.Module) -> Iterator[nn.Module]:
    for name, module in model.named_modules():
        if name.rpartition(".")[2] == BLOCKS and isinstance(module, nn.ModuleList):
            yield from module


def _copy_without_memory(model: nn.Module) -> nn.Module:
    """A copy whose parameters have no memory."""
    empty = {id(p): nn.Parameter(p.detach().new_empty(0), requires_grad=False) for p in model.parameters()}
    return copy.deepcopy(model, empty)


@contextmanager
def _whole_model(task: Classify, twin: nn.Module) -> Iterator[None]:
    """Meanwhile the task's model is a plain one with whole parameters and the main process's buffers."""
    sharded = task.model
    with collective("the all-gather of parameters"), torch.no_grad():
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


def _shard_before_load(model: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Before a sharded model loads a state dict: replace whole tensors by this process's part."""
    with collective("the sharding of a checkpoint"):
        for name, parameter in model.named_parameters(prefix.removesuffix(".")):
            if name in state:
                state[name] = _shard_like(state[name], parameter)


def _shard_like(value: Any, parameter: Any) -> Any:
    """This process's part of a whole tensor that belongs to a sharded parameter; anything else unchanged."""
    if (
        not isinstance(value, Tensor)
        or _is_sharded_tensor(value)
        or not _is_sharded_tensor(parameter)
        or not value.dim()
    ):
        return value
    distribute_tensor = _feature("distribute_tensor", "torch.distributed.tensor")
    return distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements)


def _whole_state(state: Any) -> Any:
    if isinstance(state, dict):
        return type(state)((key, _whole_state(value)) for key, value in state.items())
    if isinstance(state, (list, tuple)):
        return type(state)(_whole_state(value) for value in state)
    if not _is_sharded_tensor(state):
        return state
    gathered = state.full_tensor()
    return gathered.cpu() if is_main() else None


def _is_sharded_tensor(value: Any) -> bool:
    # Avoids the import of DTensor, which takes a second that most runs need not spend.
    return isinstance(value, Tensor) and hasattr(value, "full_tensor")


@cache
def _register_output() -> None:
    """Let FSDP find the tensors in a ModelOutput; otherwise older versions never reduce the last unit's gradients."""
    _feature("register_dataclass", "torch.export")(ModelOutput)


def _feature(name: str, module: str) -> Any:
    """A function of torch that older versions lack; imported only here, as most runs do not need it.

    Raises:
        UserError: this torch does not have it.
    """
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"TRAIN.FSDP needs {name} of {module}, which torch {torch.__version__} lacks; install torch 2.6 or newer, or "
            "set TRAIN.FSDP False"
        ) from error
