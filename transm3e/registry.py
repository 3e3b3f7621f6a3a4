"""Registries: names in configs -> classes or functions."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Generic, TypeVar

from transm3e.errors import UserError

T = TypeVar("T")
# Key -> the module whose import fills its registry; imported only when a config is checked, as most import torch.
HOMES = {
    "DISTILL.METHOD": "transm3e.distill",
    "MODEL.LOSS_FUNC": "transm3e.losses",
    "MODEL.MODEL_NAME": "transm3e.models",
    "TRANSM3E.FUSION": "transm3e.layers.fusions",
    "TWO_BRANCH.FUSION": "transm3e.models.two_branch",
}
OWN_MODULES = "transm3e own "
_REGISTRIES: dict[str, Registry[Any]] = {}


class Registry(Generic[T]):
    """Names of one kind of thing.

    Args:
        key: the config key whose values these names are, for messages.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        self._entries: dict[str, T] = {}
        _REGISTRIES[key] = self

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that adds a class or function under `name`."""

        def add(entry: T) -> T:
            if name in self._entries:
                raise UserError(f"{self.key} {name!r} is registered already; choose another name")
            self._entries[name] = entry
            return entry

        return add

    def __getitem__(self, name: str) -> T:
        """Look a name up.

        Raises:
            UserError: it is not registered; the message names the nearest.
        """
        if name not in self._entries:
            near = difflib.get_close_matches(name, self._entries, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]}? " if near else ""
            raise UserError(
                f"{self.key} is {name!r}, which does not exist; {hint}allowed: {', '.join(sorted(self._entries))}"
            )
        return self._entries[name]

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"{self.key}: {', '.join(sorted(self._entries))}"

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)


def import_files(paths: Iterable[str]) -> None:
    """Run the user's own Python files, each once, which register names for configs.

    Raises:
        UserError: a file is missing or not a Python file.
    """
    for path in paths:
        file = Path(path).resolve()
        name = f"{OWN_MODULES}{file}"
        if name in sys.modules:
            continue
        if file.suffix != ".py" or not file.is_file():
            raise UserError(f"IMPORTS names {path}, which is missing or not a Python file; check the path")
        spec = spec_from_file_location(name, file)
        assert spec, "a .py file has a loader"
        assert spec.loader
        module = module_from_spec(spec)
        # It may import modules in its folder; appended last, so that they hide no installed package.
        if str(file.parent) not in sys.path:
            sys.path.append(str(file.parent))
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise


def component(key: str, name: str) -> Any:
    """The class or function that `name` means as the value of `key`, one of HOMES.

    Raises:
        UserError: as Registry.
    """
    import_module(HOMES[key])
    return _REGISTRIES[key][name]
