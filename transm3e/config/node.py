"""Config files: safe YAML with `_BASE_`, values decoded as yacs does, unknown keys refused with the nearest names."""

from __future__ import annotations

import ast
import difflib
import logging
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode

from transm3e.config.foreign_file import is_foreign
from transm3e.config.pyslowfast import BUILT_HERE, IGNORED
from transm3e.errors import MAX_BITS, SHOWN, UserError, shown
from transm3e.files import beside, local_path, read_text
from transm3e.foreign.yaml_text import MAX_TEXT, parse_yaml

logger = logging.getLogger(__name__)
BASE_KEY = "_BASE_"
# Where it is set, the dotted key, and the value as given.
Setting = tuple[str, str, Any]
# Largest number of files of one config: the number of bases can double with every file.
MAX_FILES = 200
# Longest text that is parsed as a Python literal, in characters.
MAX_LITERAL = 10_000


def merge_opts(cfg: CfgNode, opts: Sequence[Any], where: str = "command line") -> None:
    """Merge KEY VALUE pairs or KEY=VALUE words into `cfg`.

    Raises:
        UserError: see opt_settings and merge.
    """
    merge(cfg, opt_settings(opts, where), where)


def file_settings(path: str | Path) -> list[Setting]:
    """The settings of a YAML file, after those of its `_BASE_` files (one name or a list, relative to the file;
    of a URL, URLs).

    Raises:
        UserError: a file is missing or not YAML, `_BASE_` is circular, or leads to more than MAX_FILES files.
    """
    files = list(islice(_with_bases(str(path), ()), MAX_FILES + 1))
    if len(files) > MAX_FILES:
        raise UserError(f"{path}: {BASE_KEY} leads to more than {MAX_FILES} files; name each base once")
    return [(file, key, value) for file, keys in files for key, value in _flatten(keys, "")]


def text_settings(text: str, where: str) -> list[Setting]:
    """The settings of YAML text without `_BASE_`.

    Raises:
        UserError: it is not YAML.
    """
    return [(where, key, value) for key, value in _flatten(_parse(text, where), "")]


def opt_settings(opts: Sequence[Any], where: str = "command line") -> list[Setting]:
    """The settings of KEY VALUE pairs or KEY=VALUE words.

    Raises:
        UserError: a KEY without a VALUE.
    """
    return [(where, key, value) for key, value in _pairs(opts, where)]


def _pairs(opts: Sequence[Any], where: str) -> Iterator[tuple[str, Any]]:
    words = [str(word) if not isinstance(word, (list, tuple)) else word for word in opts]
    while words:
        key = words.pop(0)
        match = re.fullmatch(r"([A-Z][A-Z0-9_]*(?:\.[A-Z0-9_]+)*)=(.*)", str(key), re.DOTALL)
        if match:
            yield match[1], match[2]
        elif words:
            yield str(key), words.pop(0)
        else:
            raise UserError(f"{where}: {key!r} has no value; write KEY VALUE or KEY=VALUE")


def merge(cfg: CfgNode, settings: Iterable[Setting], what: str) -> None:
    """Merge settings in order; one warning names the keys of PySlowFast in `what` that have no effect.

    Raises:
        UserError: a key is unknown, a value has the wrong type, or selects a network that is not implemented.
    """
    ours, ignored = all_keys(cfg), []
    for where, key, value in settings:
        if key not in ours and names_key(IGNORED, key):
            _check_built(key, value, where)
            # Those that may have one value only have their effect.
            ignored += [key] if key not in BUILT_HERE else []
        else:
            set_key(cfg, key, value, where)
    if ignored:
        logger.warning("%s: PySlowFast keys without effect here: %s", what, ", ".join(dict.fromkeys(ignored)))


def _check_built(key: str, given: Any, where: str) -> None:
    value = _decode(given)
    # A key without a value is not set.
    if key in BUILT_HERE and value is not None and not _is_built(value, BUILT_HERE[key]):
        what = value[:SHOWN] if isinstance(value, str) else shown(value)
        raise UserError(
            f"{where}: {key} is {what}, but only {BUILT_HERE[key]} is implemented; set that or remove the key"
        )


def _is_built(given: Any, built: Any) -> bool:
    if isinstance(built, list) and built and isinstance(given, (list, tuple)):
        return len(given) == len(built) and all(_is_all(stage, of[0]) for stage, of in zip(given, built, strict=True))
    return _is_all(given, built)


def _is_all(given: Any, value: Any) -> bool:
    if isinstance(given, (list, tuple)):
        return all(_is_all(part, value) for part in given)
    return given == value


def set_key(cfg: CfgNode, key: str, value: Any, where: str) -> None:
    """Set the dotted `key`; the value is decoded as yacs does and must have the default's type.

    Raises:
        UserError: the key is unknown or the value does not fit; the message begins with `where`.
    """
    node, names = cfg, key.split(".")
    for name in names[:-1]:
        node = node.get(name) if isinstance(node, CfgNode) else None
    if not isinstance(node, CfgNode) or names[-1] not in node:
        raise UserError(f"{where}: unknown key {key}; {_nearest(cfg, key)}")
    if isinstance(node[names[-1]], CfgNode):
        raise UserError(f"{where}: {key} is a group of keys, not a value; set one of {', '.join(node[names[-1]])}")
    node[names[-1]] = _coerce(value, node[names[-1]], f"{where}: {key}")


def names_key(names: Sequence[str], key: str) -> bool:
    """Whether the dotted `key` is one of `names`, where a name ending in "." means its whole group."""
    return any(key == name or (name.endswith(".") and key.startswith(name)) for name in names)


def all_keys(cfg: CfgNode) -> dict[str, Any]:
    """Dotted key -> value, for every key."""
    return dict(_flatten(cfg, ""))


def _with_bases(file: str, below: tuple[Path, ...]) -> Iterator[tuple[str, dict]]:
    here = local_path(file).resolve()
    if here in below:
        raise UserError(f"{file}: {BASE_KEY} is circular; remove it from one of the files")
    settings = dict(_read(file))
    bases = settings.pop(BASE_KEY, [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) and base.isprintable() for base in bases):
        raise UserError(f"{file}: {BASE_KEY} is {shown(bases)}; it must be a file name or a list of them")
    for base in bases:
        yield from _with_bases(beside(file, base), (*below, here))
    yield file, settings


def _read(file: str) -> dict:
    try:
        return _parse(read_text(local_path(file), 4 * MAX_TEXT), file)
    except OSError as error:
        raise UserError(f"cannot read the config {file}: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not a UTF-8 text file; save it as UTF-8") from error


# The configs of a table share their bases, so most texts are parsed many times.
@lru_cache(maxsize=1024)
def _parse(text: str, where: str) -> dict:
    """The settings of YAML text; callers must not change them."""
    twice: list[str] = []
    settings = parse_yaml(text, where, twice)
    if twice and isinstance(settings, dict) and is_foreign([key for key, _ in _flatten(settings, "")]):
        logger.warning(
            "%s: %s is given twice with different values; the last one counts, as in PySlowFast", where, twice[0]
        )
    elif twice:
        parse_yaml(text, where)
    if not isinstance(settings, dict):
        raise UserError(f"{where}: a config holds KEY: value lines, this one holds {type(settings).__name__}")
    return settings


def _flatten(settings: dict, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _decode(value: Any) -> Any:
    # As yacs: text that reads as a Python literal is that literal ("1e-6", "(3, 7, 7)").
    if not isinstance(value, str) or len(value) > MAX_LITERAL:
        return value
    try:
        literal = ast.literal_eval(value)
        # Python refuses to print an integer of so many digits in a message.
        return value if isinstance(literal, int) and literal.bit_length() > MAX_BITS else literal
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return {"true": True, "false": False}.get(value.lower(), value)


def _coerce(given: Any, default: Any, what: str) -> Any:
    value = _decode(given)
    if isinstance(default, list) and isinstance(value, str):
        value = _words(value)
    if not isinstance(default, str) and not _is_finite(value):
        raise UserError(
            f"{what} is {shown(value)}; it must be {'finite numbers' if isinstance(default, list) else 'a finite number'}"
        )
    if isinstance(default, list) and isinstance(value, (list, tuple)):
        return [list(item) if isinstance(item, tuple) else item for item in value]
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if isinstance(default, str) and value is None:
        return ""
    if isinstance(value, str) and not value.isprintable():  # most texts are file names, which must not contain them
        raise UserError(f"{what} is {shown(value)}; it must be text without line ends and control characters")
    if isinstance(default, str) and isinstance(value, (int, float)) and not isinstance(value, bool):
        # As given: a folder named 2024_01 is not a number.
        return str(given)
    if type(value) is not type(default):
        raise UserError(
            f"{what} is {shown(value)} ({type(value).__name__}), but must be {type(default).__name__}, as the default {default!r}"
        )
    return value


def _words(text: str) -> Any:
    """A list without quotes, as [known_val, new_val], parsed as YAML; other text unchanged."""
    try:
        value = parse_yaml(text, "a list")
    except UserError:
        return text
    return value if isinstance(value, list) else text


def _is_finite(value: Any) -> bool:
    """Whether a number, or every number of nested lists, is within the range of floats."""
    if isinstance(value, (list, tuple)):
        return all(_is_finite(part) for part in value)
    # A comparison, as float() fails for integers beyond the range of floats.
    return not isinstance(value, (int, float)) or abs(value) <= sys.float_info.max


def _nearest(cfg: CfgNode, key: str) -> str:
    keys = all_keys(cfg)
    near = difflib.get_close_matches(key, keys, n=3, cutoff=0.6)
    same_name = [other for other in keys if other.split(".")[-1] == key.split(".")[-1]]
    names = list(dict.fromkeys([*same_name, *near]))[:4]
    return f"did you mean {' or '.join(names)}?" if names else "python tools/run_net.py --help-keys lists every key"
