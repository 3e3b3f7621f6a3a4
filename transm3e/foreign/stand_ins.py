"""Stand-in classes for objects in checkpoints that are plain data besides the weights.

The real classes are never imported. A stand-in has the name that the file refers to, so that torch.load with
weights_only=True accepts it, and only keeps plain values: attributes become a dict, paths text, NumPy scalars and arrays
stay themselves (checked by transm3e.unpickle), and a program's own objects (schedulers, callbacks) become empty objects.
"""

from __future__ import annotations

import posixpath
import re
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta, timezone
from typing import Any

import numpy as np

from transm3e.unpickle import ArrayInMaking, DTypeInMaking, bytes_of_text, numpy_scalar, plain_bytes

# Names on which torch.load decides itself.
OF_TORCH = re.compile(r"torch\..+|collections\.(OrderedDict|Counter)")
# More distinct names than any honest file has.
MAX_NAMES = 1000


class _Fields(dict):
    """An object's attributes; constructor arguments are dropped."""

    def __new__(cls, *_: Any) -> _Fields:
        return super().__new__(cls)

    def __init__(self, *_: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        for part in state if isinstance(state, tuple) else (state,):
            self.update(part if isinstance(part, dict) else {})


class _Empty:
    """An object, class or function whose content is dropped."""

    __slots__ = ()

    def __new__(cls, *_: Any) -> _Empty:
        return super().__new__(cls)

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


class _Mapping:
    """A mapping; torch.load sets items in an OrderedDict only."""

    def __new__(cls, *_: Any) -> Any:
        return OrderedDict()


class _Array(ArrayInMaking):
    def __new__(cls, *_: Any) -> _Array:
        return super().__new__(cls, (0,), np.uint8)


def _calling(make: Callable[..., Any]) -> type:
    """A class whose constructor returns make(*args)."""
    return type("_Call", (), {"__new__": lambda cls, *parts: make(*parts), "__slots__": ()})


def _items(items: Any = (), *_: Any) -> list[Any]:
    return list(items) if isinstance(items, (list, tuple)) else []


def _path(*parts: Any) -> str:
    return posixpath.join("", *(part for part in parts if isinstance(part, str)))


# The first pattern that matches the whole name decides.
KINDS: tuple[tuple[str, type], ...] = (
    (r"numpy\.(_?core)\.multiarray\.scalar", _calling(numpy_scalar)),
    (r"numpy\.(_?core)\.multiarray\._reconstruct", _Array),
    (r"numpy\.dtype", DTypeInMaking),
    (r"numpy\.(ndarray|bool_?|u?int\d+|float\d+|complex\d+|str_|bytes_|dtypes\.\w+|random\..+)", _Empty),
    (r"pathlib\.(_local\.)?(Pure)?(Posix|Windows)?Path", _calling(_path)),
    (
        r"argparse\.Namespace|types\.SimpleNamespace|omegaconf\..+|mmengine\.logging\.history_buffer\.HistoryBuffer",
        _Fields,
    ),
    (r"collections\.defaultdict|(yacs|fvcore\.common|detectron2\.config)\.config\.CfgNode", _Mapping),
    (
        r"(mmcv\.utils|mmengine\.config)\.config\.ConfigDict|addict\.addict\.Dict|easydict\.EasyDict|munch\.Munch",
        _Mapping,
    ),
    (r"(pytorch_lightning|lightning(\.pytorch|\.fabric)|lightning_fabric)\.utilities\.\w+\.AttributeDict", _Mapping),
    (r"collections\.deque|builtins\.(set|frozenset)", _calling(_items)),
    # Allowed by torch itself from 2.5 on, which then takes precedence.
    (r"_codecs\.encode", _calling(bytes_of_text)),
    (r"builtins\.(bytes|bytearray)", _calling(plain_bytes)),
    (r"(pytorch_lightning|lightning\.pytorch)\.callbacks\..+|torch\.optim\..+", _Empty),
    (r"typing\..+|builtins\.(int|float|complex|str|bool|list|dict|tuple|object|type|slice|range|getattr)", _Empty),
)
# Immutable types, built in C from numbers only: allowed as they are.
THEMSELVES: dict[str, Callable[..., Any]] = {
    f"datetime.{each.__name__}": each for each in (date, datetime, time, timedelta, timezone)
}


def full_name(module: str, name: str) -> str:
    """Full name of a pickle's global as torch looks it up, with Python 3's module names."""
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    return f"{module}.{name}"


def stand_ins(names: Iterable[str]) -> tuple[list[Callable[..., Any]], list[str]]:
    """(classes to allow in torch.load, names without a stand-in).

    Args:
        names: of full_name.
    """
    found, unknown = [], []
    for name in names:
        kind = next((kind for pattern, kind in KINDS if re.fullmatch(pattern, name)), None)
        if name in THEMSELVES:
            found.append(THEMSELVES[name])
        elif kind:
            module, _, own = name.rpartition(".")
            found.append(type(own, (kind,), {"__module__": module, "__qualname__": own, "__slots__": ()}))
        elif not OF_TORCH.fullmatch(name):
            unknown.append(name)
    return found, unknown
