"""Read files of torch.save with torch.load(weights_only=True), after a scan.

Refused before torch reads them: tar files, from which torch before 2.6 runs code despite weights_only (CVE-2025-32434);
compressed records, which can unpack to any size; pickles that would crash the process. Plain values of well-known classes
are read by stand-ins (transm3e.foreign.stand_ins); files with other classes are refused by name.
"""

from __future__ import annotations

import pickle
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch
from torch.serialization import add_safe_globals, clear_safe_globals, get_safe_globals

from transm3e.errors import UserError, shown
from transm3e.files import open_regular
from transm3e.foreign.pickle_scan import Found, scan_pickle
from transm3e.foreign.stand_ins import MAX_NAMES, full_name, stand_ins

# First bytes of torch's files; before version 1.6, a magic number after the pickle's two-byte header.
TORCH_ZIP, TORCH_NUMBER = b"PK\x03\x04", b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
# Default of torch.save.
TORCH_PROTOCOL = 2
# In a file from before 1.6: magic number, version, system information, the object, keys of its storages.
OLD_PICKLES = 5
# What zipfile and tarfile raise for damaged files, in addition to ValueError.
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, RuntimeError, EOFError, struct.error, LookupError)


def begins_as_torch(start: bytes) -> bool:
    """Whether a file with these first 14 bytes or more was written by torch.save."""
    return start.startswith(TORCH_ZIP) or start[2:].startswith(TORCH_NUMBER)


def load_torch(path: str | Path, keys: Collection[str] = ()) -> Any:
    """Content of a file of torch.save: tensors on the CPU, numbers, text, lists, dicts, and the results of stand-ins.

    Args:
        keys: under which weights may be stored, for the remedy in the message.

    Raises:
        OSError: it cannot be read.
        UserError: it holds objects of other classes.
        ValueError: not written by torch.save, or refused.
        Exception: whatever torch raises for damaged files.
    """
    with open_regular(path) as file:
        start = file.read(len(TORCH_NUMBER) + 2)
        if not begins_as_torch(start):
            raise ValueError("not written by torch.save")
        try:
            scans = list((_scan_zip if start.startswith(TORCH_ZIP) else _scan_old)(file, keys))
        except DAMAGE as error:
            raise ValueError(f"a damaged file of torch.save ({' '.join(str(error).split())[:120]})") from error
    names = list(dict.fromkeys(full_name(*each) for found in scans for each in found.classes))
    if len(names) > MAX_NAMES:
        raise ValueError(f"{len(names)} classes named")
    allowed, unknown = stand_ins(names)
    if unknown:
        raise _refusal(path, scans, unknown)
    try:
        with _allowed(allowed), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # A class of torch's own that it does not allow, or an operation of protocol 3 or later that it does not support.
        refused, protocol = [name for name in names if name in str(error)], max(found.protocol for found in scans)
        if refused or protocol > TORCH_PROTOCOL:
            raise _refusal(path, scans, refused or [f"pickle protocol {protocol}"]) from error
        raise


@contextmanager
def _allowed(classes: list[Callable[..., Any]]) -> Iterator[None]:
    """Let torch.load accept exactly these classes, whatever the program has allowed (safe_globals needs torch 2.5)."""
    before = get_safe_globals()
    clear_safe_globals()
    add_safe_globals([*classes])
    try:
        yield
    finally:
        clear_safe_globals()
        add_safe_globals(before)


def _refusal(path: str | Path, scans: list[Found], names: list[str]) -> UserError:
    file, key = Path(path), next(iter(sorted(set().union(*(found.texts for found in scans)))), None)
    part = f"[{key!r}]" if key else ""
    line = (
        f"import torch; c = torch.load({file.name!r}, 'cpu', weights_only=False){part}; "
        f"torch.save(getattr(c, 'state_dict', lambda: c)(), {file.stem + '_weights' + file.suffix!r})"
    )
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return UserError(
        f"{file}: refused, it holds objects other than tensors and plain values "
        f"({', '.join(shown(name)[1:-1] for name in names[:3])}{more}), which can only be read by running code from the file; "
        "if you trust it, write its weights alone, where the program that made it is installed: "
        f'python -c "{line}"'
    )


def _scan_zip(file: IO[bytes], keys: Collection[str]) -> Iterator[Found]:
    size = file.seek(0, 2)
    with zipfile.ZipFile(file) as archive:
        records = archive.infolist()
        if any(record.compress_type != zipfile.ZIP_STORED for record in records):
            raise ValueError("compressed records, which torch.save does not write")
        if sum(record.file_size for record in records) > size:
            raise ValueError(f"records of more than the file's {size} bytes")
        pickles = [record for record in records if record.filename.rpartition("/")[2] == "data.pkl"]
        if not pickles:
            raise ValueError("no data.pkl in it")
        for record in pickles:
            with archive.open(record) as member:
                yield scan_pickle(member, keys)


def _scan_old(file: IO[bytes], keys: Collection[str]) -> Iterator[Found]:
    file.seek(0)
    if tarfile.is_tarfile(file):
        raise ValueError("a tar file, from which older versions of torch would run code")
    file.seek(0)
    for _ in range(OLD_PICKLES):
        yield scan_pickle(file, keys)
