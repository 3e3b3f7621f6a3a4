"""Libraries, decoders and shared memory: versions, and what is wrong with them."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import shutil
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import transm3e
from transm3e.doctor.gpus import INDEX, name_of
from transm3e.doctor.problem import Problem
from transm3e.errors import first_line

LIBRARIES = {  # module -> the package to install
    "numpy": "numpy",
    "sklearn": "scikit-learn",
    "torch": "torch",
    "torchvision": "torchvision",
    "av": "av",
    "cv2": "opencv-python",
}
CODECS = ("h264", "vp9", "mpeg4")  # YouTube's and re-encoded clips; AVI files of UCF101 and HMDB51
PYAV = "av>=14.1,<20"  # as setup.py has it
MOST_OFF = 6  # grey levels that a frame may be off after encoding
SHM = Path("/dev/shm")
SHM_NEEDED = 2**30  # bytes; a few batches of 16 clips of 16x224x224 uint8 in two modalities, per loader
GIB = 2**30


def check() -> list[Problem]:
    """Problems of libraries, decoders and shared memory."""
    loaded = {name: load(name) for name in LIBRARIES}
    failed = {name: module for name, module in loaded.items() if isinstance(module, Exception)}
    problems = [_import_problem(name, error) for name, error in failed.items()]
    if not {"torch", "torchvision"} & failed.keys():
        problems += _torchvision_problems()
    if "av" not in failed:
        problems += _codec_problems()
    return problems + _shm_problems()


def import_remedy(name: str, reason: str, torch_version: str | None = None) -> str:
    """What to do about a library of LIBRARIES that fails to import with the message `reason`."""
    if name == "cv2" and "cannot open shared object file" in reason:
        # The GUI build links libGL and GTK, which servers and containers lack.
        return "pip uninstall -y opencv-python && pip install opencv-python-headless"
    if name == "torchvision" and torch_version:
        return _matching_pair(torch_version)
    return f"pip install {LIBRARIES[name]}"


def load(name: str) -> ModuleType | Exception:
    try:
        return importlib.import_module(name)
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        # A torchvision built for another torch raises any of these, a missing system library the first two.
        return error


def _import_problem(name: str, error: Exception) -> Problem:
    reason = " ".join(str(error).split())
    torch_version = getattr(sys.modules.get("torch"), "__version__", None)
    return Problem(f"{name} cannot be imported ({reason})", import_remedy(name, reason, torch_version))


def _torchvision_problems() -> list[Problem]:
    import torch
    from torchvision.ops import nms

    try:
        # Its compiled part is loaded lazily: only a call shows whether it fits this torch.
        nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except (RuntimeError, NotImplementedError, AttributeError) as error:
        what = f"torchvision {_version('torchvision')} does not fit torch {torch.__version__} ({first_line(error)})"
        return [Problem(what, _matching_pair(torch.__version__))]
    return []


def _matching_pair(torch_version: str) -> str:
    """pip finds the torchvision of a given torch; the part after "+" names the index of its builds."""
    number, _, build = torch_version.partition("+")
    return f"pip install --force-reinstall torch=={number} torchvision" + (f" {INDEX}{build}" if build else "")


def _codec_problems() -> list[Problem]:
    remedy = f'pip install --force-reinstall --only-binary av "{PYAV}"'
    if missing := [codec for codec in CODECS if not _decodes(codec)]:
        return [Problem(f"PyAV cannot decode {', '.join(missing)}", remedy)]
    try:
        _write_and_read_video()
    except Exception as error:  # a changed interface may raise any error
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return [Problem(f"PyAV {_version('av')} does not write and read a video of eight frames ({reason})", remedy)]
    return []


def _write_and_read_video() -> None:
    """Eight grey frames written and read by the package's own code.

    Raises:
        ValueError: the decoded frames differ from the written ones.
    """
    import numpy as np

    from transm3e.data.decode import decode_frames
    from transm3e.data.encode import write_video

    greys = [30 * number for number in range(8)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "eight.mp4"
        write_video(file, [np.full((48, 64, 3), grey, np.uint8) for grey in greys], fps=8)
        seen = [int(image.mean()) for image in decode_frames(file, range(8))]
    if max(abs(there - grey) for there, grey in zip(seen, greys, strict=True)) > MOST_OFF:
        raise ValueError(f"greys {greys} come back as {seen}")


def _shm_problems() -> list[Problem]:
    if not SHM.is_dir():
        return []  # not Linux: torch shares memory another way
    free = shutil.disk_usage(SHM).free
    if free >= SHM_NEEDED:
        return []
    return [
        Problem(
            f"{SHM} has {free / GIB:.2f} GiB free, data-loading workers need {SHM_NEEDED // GIB} GiB or more",
            "start the container with --shm-size=8g or --ipc=host, or set DATA_LOADER.NUM_WORKERS 0",
        )
    ]


def versions() -> list[tuple[str, str]]:
    facts = [("python", sys.version.split()[0]), ("transm3e", transm3e.__version__)]
    facts += [(name, _version(name)) for name in LIBRARIES]
    torch = load("torch")
    if not isinstance(torch, Exception):
        build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
        facts += [("torch build", build)]
        facts += [("torch GPUs", " ".join(torch.cuda.get_arch_list()) or "none")]
    return facts


def devices() -> list[tuple[str, str]]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts = [("cpu", f"{cores} cores usable, workers start by {multiprocessing.get_all_start_methods()[0]}")]
    if SHM.is_dir():
        usage = shutil.disk_usage(SHM)
        facts += [(str(SHM), f"{usage.free / GIB:.1f} of {usage.total / GIB:.1f} GiB free")]
    torch = load("torch")
    count = 0 if isinstance(torch, Exception) else torch.cuda.device_count()
    for i in range(count):
        gpu = torch.cuda.get_device_properties(i)  # type: ignore[union-attr]
        facts += [(f"gpu {i}", f"{gpu.name}, {name_of((gpu.major, gpu.minor))}, {gpu.total_memory / GIB:.1f} GiB")]
    return [*facts, ("cuDNN", _cudnn(torch))] if count else [*facts, ("gpu", "none")]


def _cudnn(torch: Any) -> str:
    try:
        return str(torch.backends.cudnn.version() or "none")
    except RuntimeError as error:  # too new for this GPU, which the check of GPUs reports with its remedy
        return f"not usable ({first_line(error)})"


def decoders() -> list[tuple[str, str]]:
    av = load("av")
    facts = []
    if not isinstance(av, Exception):
        facts += [("PyAV", ", ".join(f"{codec} {'yes' if _decodes(codec) else 'no'}" for codec in CODECS))]
        numbers = {name: ".".join(map(str, version)) for name, version in av.library_versions.items()}
        facts += [("FFmpeg", ", ".join(f"{name} {numbers[name]}" for name in ("libavcodec", "libavformat")))]
    codec = load("torchcodec")
    optional = "not usable (optional)" if isinstance(codec, Exception) else _version("torchcodec")
    return [*facts, ("torchcodec", optional)]


def _decodes(codec: str) -> bool:
    import av

    try:
        return bool(av.Codec(codec, "r"))
    except ValueError:  # PyAV's UnknownCodecError is one
        return False


def _version(name: str) -> str:
    module = load(name)
    return "missing" if isinstance(module, Exception) else str(getattr(module, "__version__", "unknown"))
