"""Read pickles of data without running code from them.

A pickle names functions that the reader calls, so a malicious one can do anything. Here every name outside a short list is
refused before it is looked up, and names on the list resolve to functions of this module that only build arrays: NumPy's
own would take the memory layout from the file.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from transm3e.errors import UserError
from transm3e.files import open_regular
from transm3e.foreign.pickle_scan import scan_pickle

# bool, signed and unsigned integers, floats, complex numbers; text and bytes of fixed length.
ARRAY_KINDS = "biufcUS"
ALLOWED = "dicts, lists, tuples, sets, strings, bytes, numbers, None and NumPy arrays of numbers or text"
# What unpickling a damaged or forged stream raises; LookupError and others come from its opcodes.
BROKEN = (pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError, OverflowError)


def read_pickle(path: str | Path) -> Any:
    """The object in a pickle file of dicts, lists, tuples, sets, strings, bytes, numbers, None and NumPy arrays.

    Pickles of Python 2 (strings as latin-1) and of NumPy 1 and 2 are read. Arrays are of a subclass of np.ndarray.

    Raises:
        UserError: missing, damaged, made to crash the process, or it holds anything else, including arrays of objects
            (named in the message; nothing is imported or run).
    """
    try:
        with open_regular(path) as file:
            scan_pickle(file)
            file.seek(0)
            return _DataUnpickler(file, encoding="latin1").load()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; check the path") from error
    except _Refused as error:
        raise UserError(
            f"{path}: refused, it holds {error!s:.120}; allowed are {ALLOWED}; write the data again with these only"
        ) from error
    except (*BROKEN, RecursionError, MemoryError) as error:
        raise UserError(f"{path}: not a pickle, or a damaged one ({_one_line(error)}); copy it again") from error


class _Refused(ValueError):
    """A pickle contains something other than data; the message names it."""


class _DataUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in MAKERS:
            raise _Refused(f"{module}.{name}")
        return MAKERS[module, name]

    def persistent_load(self, pid: Any) -> NoReturn:
        raise _Refused("a reference to an object outside the file")


class _Maker:
    """A function that a pickle may call; the pickle can neither change it nor set attributes on it."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *args: Any) -> Any:
        return self._make(*args)

    def __setstate__(self, state: Any) -> NoReturn:
        raise _Refused("a change to a function")


class DTypeInMaking:
    """A dtype under construction: NumPy stores its name and, as state, the byte order."""

    __slots__ = ("dtype",)

    def __init__(self, name: Any, *flags: Any) -> None:
        dtype = np.dtype(name) if isinstance(name, str) else np.dtype("O")
        if dtype.kind not in ARRAY_KINDS:
            raise _Refused(f"an array of element type {dtype}")
        self.dtype = dtype

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, order, *layout = state
        # Sub-arrays, fields and metadata would let the file determine the memory layout.
        if any(part is not None for part in layout[:3]) or len(layout) > 6:
            raise _Refused("an array of structures")
        self.dtype = self.dtype.newbyteorder(order)


class ArrayInMaking(np.ndarray):
    """An array under construction: empty until its state is set, which is checked first."""

    __slots__ = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, raw = state
        # Python 2 stored bytes as text.
        raw = raw.encode("latin1") if isinstance(raw, str) else raw
        _check_size(shape, kind, raw)
        checked: Any = (1, shape, kind.dtype, bool(fortran), raw)
        super().__setstate__(checked)


def _check_size(shape: Any, kind: Any, raw: Any) -> None:
    if not isinstance(kind, DTypeInMaking) or not isinstance(raw, bytes):
        raise _Refused("an array of objects")
    if any(type(side) is not int or side < 0 for side in shape) or math.prod(shape) * kind.dtype.itemsize != len(raw):
        raise ValueError(f"array of shape {shape} with {len(raw)} bytes")


def _from_buffer(raw: Any, kind: Any, shape: tuple[int, ...], order: str) -> np.ndarray:
    # As protocol 5 stores arrays.
    raw = bytes(raw) if isinstance(raw, bytearray) else raw
    _check_size(shape, kind, raw)
    return np.frombuffer(raw, kind.dtype).reshape(shape, order="F" if order == "F" else "C").copy()


def numpy_scalar(kind: Any, raw: Any) -> np.generic:
    # Before protocol 3, bytes are stored as text.
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    _check_size((), kind, raw)
    return np.frombuffer(raw, kind.dtype)[0]


def bytes_of_text(text: str, encoding: str = "latin1") -> bytes:
    # As bytes are stored before protocol 3; no other codec is allowed.
    if encoding not in ("latin1", "latin-1"):
        raise _Refused(f"text in the encoding {encoding!r}")
    return text.encode("latin1")


def plain_bytes(content: bytes | str = b"", encoding: str = "latin1") -> bytes:
    # Contents only: bytes(10**12) would be a terabyte of zeros.
    return bytes_of_text(content, encoding) if isinstance(content, str) else b"".join([content])


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:120]


MAKERS: dict[tuple[str, str], Any] = {("numpy", "ndarray"): None, ("numpy", "dtype"): _Maker(DTypeInMaking)}
for _core in ("numpy.core", "numpy._core"):
    MAKERS[f"{_core}.multiarray", "_reconstruct"] = _Maker(lambda *_: ArrayInMaking((0,), np.uint8))
    MAKERS[f"{_core}.multiarray", "scalar"] = _Maker(numpy_scalar)
    MAKERS[f"{_core}.numeric", "_frombuffer"] = _Maker(_from_buffer)
MAKERS["_codecs", "encode"] = _Maker(bytes_of_text)
for _builtins in ("builtins", "__builtin__"):
    MAKERS |= {(_builtins, name): _Maker(make) for name, make in (("set", set), ("frozenset", frozenset))}
    MAKERS[_builtins, "bytes"] = _Maker(plain_bytes)
    MAKERS[_builtins, "complex"] = _Maker(complex)
