"""Reads and writes checkpoint files: reading executes nothing in them, and returns a dict of the same form for all."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transm3e.errors import UserError, disk_faults, shown
from transm3e.files import atomic_path, local_path, split_member
from transm3e.foreign.torch_file import begins_as_torch, load_torch
from transm3e.models.weights.wrappers import EMA_KEYS, STATE_KEYS, find_state
from transm3e.unpickle import read_pickle

NOTE = "weights_note"
# Bytes written to learn why a disk cannot be written to.
PROBE = 1 << 22
SAFETENSORS = ".safetensors"
# Most .pkl files of PySlowFast's model zoo are Caffe2's, {"blobs": {name: array}}; some are torch's.
CAFFE2, BLOBS = ".pkl", "blobs"
GZIP = b"\x1f\x8b"
PICKLED = (".pyth", ".pth", ".pt")


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a .pyth, .pth, .pt, .safetensors or .pkl file (of torch or Caffe2): tensors, numbers, text, lists and dicts only.

    Args:
        path: also a URL; `FILE::KEY` takes the tensors under KEY, as `a.pth::model_ema` (see find_state).

    Returns:
        "model_state": name -> tensor on the CPU, always; NOTE: a sentence on where the tensors were, if there was a choice;
        and everything else in the file (epoch, cfg, ...).

    Raises:
        UserError: the file is missing, damaged, holds other objects, or has no dict of tensors.
    """
    name, member = split_member(path)
    file = local_path(name)
    if not file.is_file():
        raise UserError(f"no checkpoint at {file.absolute()}; check the path")
    try:
        with disk_faults():
            state = READERS.get(file.suffix, _load_torch)(file)
    except UserError:
        raise
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{file}: damaged, or holds objects other than tensors and plain values; use another checkpoint"
        ) from error
    except Exception as error:
        # On a damaged file the readers raise nearly any exception: IndexError, KeyError, struct.error ...
        why = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise UserError(f"{file}: not a readable checkpoint ({why}); use another one") from error
    normal = _normal(state, file, member)
    _check_sizes(normal["model_state"], file)
    return normal


def write_weights(path: Path, state: Mapping[str, Tensor], cfg_text: str) -> None:
    """Write a model's tensors and its config as a .pyth (PySlowFast's keys) or .safetensors file.

    Raises:
        UserError: it cannot be written, see also check_target; an older file stays.
    """
    check_target(path)
    with atomic_path(path) as partial:
        if path.suffix == SAFETENSORS:
            tensors = {name: tensor.contiguous() for name, tensor in state.items()}
            partial.write_bytes(_safetensors(path).torch.save(tensors, {"cfg": cfg_text}))
        else:
            save_torch({"model_state": dict(state), "cfg": cfg_text}, partial)


def save_torch(state: dict[str, Any], path: Path) -> None:
    """torch.save that raises the error of the file system.

    Raises:
        OSError: the file cannot be written.
    """
    try:
        torch.save(state, path)
    except RuntimeError as error:
        # torch's zip writer turns errors of the disk into a RuntimeError; writing again raises the OSError.
        with path.open("ab") as file:
            file.write(bytes(PROBE))
            file.flush()
            os.fsync(file.fileno())
        raise OSError(str(error).splitlines()[0]) from error


def check_target(path: Path) -> None:
    """Check, before the work, that write_weights can write to `path`.

    Raises:
        UserError: the folder does not exist, the path is a folder, the file has another suffix, or the package
            safetensors is needed and missing.
    """
    if not path.parent.is_dir():
        raise UserError(f"no folder {path.parent.absolute()} to write {path.name} into; create it, or choose another")
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file in it")
    if path.suffix == SAFETENSORS:
        _safetensors(path)
    elif path.suffix not in PICKLED:
        raise UserError(f"unknown checkpoint suffix {path.suffix!r}; use {', '.join((*PICKLED, SAFETENSORS))}")


def _normal(content: Any, file: Path, member: str) -> dict[str, Any]:
    try:
        state, key, note = find_state(content, member)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    others = {k: v for k, v in content.items() if k != key} if key else {}
    return {**others, **({NOTE: note} if note else {}), "model_state": state}


def _load_torch(file: Path) -> Any:
    return load_torch(file, (*STATE_KEYS, *EMA_KEYS))


def _check_sizes(state: dict[str, Tensor], file: Path) -> None:
    """A stored value can be expanded to a tensor of any size; one larger than its file would exhaust memory in use."""
    size = file.stat().st_size
    for name, tensor in state.items():
        if tensor.is_nested or (_has_values(tensor) and tensor.numel() * tensor.element_size() > size):
            raise UserError(
                f"{file}: the tensor {shown(name)} is nested or larger than the file; use another checkpoint"
            )


def _has_values(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and not tensor.is_meta


def _read_pkl(file: Path) -> Any:
    with file.open("rb") as opened:
        start = opened.read(16)
    if begins_as_torch(start):
        return _load_torch(file)
    if start.startswith(GZIP):
        raise UserError(f"{file}: compressed with gzip; unpack it first")
    return _read_caffe2(file)


def _read_caffe2(file: Path) -> dict[str, Any]:
    content = read_pickle(file)
    blobs = content.get(BLOBS) if isinstance(content, dict) else None
    if not isinstance(blobs, dict) or not all(isinstance(name, str) for name in blobs):
        raise UserError(f'{file}: holds no "{BLOBS}", so it is not a Caffe2 checkpoint; use another one')
    arrays = {
        name: array for name, array in blobs.items() if isinstance(array, np.ndarray) and array.dtype.kind in "fi"
    }
    if not arrays:
        raise UserError(f'{file}: no arrays of numbers in its "{BLOBS}"; use another checkpoint')
    # Tensors need native byte order.
    return {"model_state": {n: torch.from_numpy(np.array(a, a.dtype.newbyteorder("="))) for n, a in arrays.items()}}


def _read_safetensors(file: Path) -> dict[str, Any]:
    with _safetensors(file).safe_open(file, framework="pt", device="cpu") as opened:
        metadata = opened.metadata() or {}
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
    return {**{k: v for k, v in metadata.items() if k == "cfg"}, "model_state": tensors}


READERS = {SAFETENSORS: _read_safetensors, CAFFE2: _read_pkl}


def _safetensors(file: Path) -> Any:
    # Imported here: only .safetensors files need the package.
    try:
        import safetensors
        import safetensors.torch
    except ImportError as error:
        raise UserError(
            f"{file} needs the package safetensors; pip install safetensors, or use a .pyth file"
        ) from error
    return safetensors
