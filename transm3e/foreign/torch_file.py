"""What torch.save wrote, read with torch.load(weights_only=True) and looked through first.

Refused before torch sees it: tar files, in which torch before 2.6 runs code whatever weights_only says
(CVE-2025-32434); compressed records, which a small file can blow up; pickles that would bring the process down.
"""

from __future__ import annotations

import struct
import tarfile
import zipfile
from pathlib import Path
from typing import IO, Any

import torch

from transm3e.files import open_regular
from transm3e.foreign.pickle_scan import scan_pickle

# How files of torch begin, those before its version 1.6 with a number after the pickle's two bytes.
TORCH_ZIP, TORCH_NUMBER = b"PK\x03\x04", b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
# Of an old file: the number, a version, the machine, the object, its storages.
OLD_PICKLES = 5
# What zipfile and tarfile raise at damaged files besides ValueError.
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, RuntimeError, EOFError, struct.error, LookupError)


def begins_as_torch(start: bytes) -> bool:
    """Whether a file with these first 14 bytes or more was written by torch.save."""
    return start.startswith(TORCH_ZIP) or start[2:].startswith(TORCH_NUMBER)


def load_torch(path: str | Path) -> Any:
    """Tensors on the CPU, numbers, text, lists and dicts of a file of torch.save.

    Raises:
        OSError: it cannot be read.
        ValueError: not written by torch.save, or refused.
        Exception: whatever torch raises at damaged files.
    """
    with open_regular(path) as file:
        start = file.read(len(TORCH_NUMBER) + 2)
        if not begins_as_torch(start):
            raise ValueError("not written by torch.save")
        try:
            (_check_zip if start.startswith(TORCH_ZIP) else _check_old)(file)
        except DAMAGE as error:
            raise ValueError(f"a damaged file of torch.save ({' '.join(str(error).split())[:120]})") from error
    return torch.load(path, map_location="cpu", weights_only=True)


def _check_zip(file: IO[bytes]) -> None:
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
                scan_pickle(member)


def _check_old(file: IO[bytes]) -> None:
    file.seek(0)
    if tarfile.is_tarfile(file):
        raise ValueError("a tar file, which older versions of torch would run code from")
    file.seek(0)
    for _ in range(OLD_PICKLES):
        scan_pickle(file)
