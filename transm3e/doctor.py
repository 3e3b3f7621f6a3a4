"""`python -m transm3e.doctor`: versions, hardware, and problems with a remedy each.

Facts about which PyTorch build carries which GPU's kernels are from PyTorch's release notes and its
support matrix (RELEASE.md): CUDA 13 builds begin at sm_75; the CUDA 12.6 builds carry sm_50 to sm_90 and
end with torch 2.14; the wheels on PyPI up to torch 2.10 (CUDA 12) carry sm_70.
"""

from __future__ import annotations

import ctypes
import importlib
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import transm3e

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
DRIVER = Path("/proc/driver/nvidia/version")
INDEX = "--index-url https://download.pytorch.org/whl/"
FIRST_CU126, LAST_CU126 = (2, 6), (2, 14)  # torch releases with builds for CUDA 12.6
GIB = 2**30


@dataclass(frozen=True)
class Problem:
    """Something that will not work on this machine.

    Attributes:
        what: what is wrong and where.
        remedy: what to do about it, with the command where there is one.
    """

    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}"


def missing_kernels(capability: tuple[int, int], arch_list: Sequence[str]) -> bool:
    """Whether a torch build has no code that runs on a GPU.

    Binary code (sm_XY) runs on GPUs of the same major and the same or a higher minor capability, sm_XYa
    on exactly that one; PTX (compute_XY) is compiled for any GPU from X.Y on, compute_XYa for exactly that one.

    Args:
        capability: (major, minor), as torch.cuda.get_device_capability() gives it.
        arch_list: names such as "sm_80" or "compute_90", as torch.cuda.get_arch_list() gives them.
    """
    return not any(_runs_on(capability, arch) for arch in arch_list)


def advice_for(capability: tuple[int, int], torch_version: str, cuda_version: str | None) -> str:
    """The pip command that installs a torch with kernels for this GPU.

    Args:
        capability: (major, minor) of the GPU.
        torch_version: as torch.__version__, for example "2.14.1+cu130".
        cuda_version: as torch.version.cuda; None in a build without CUDA.
    """
    install = "pip install --force-reinstall "
    if capability < (5, 0):
        return "no supported torch runs on this GPU; use another one, or the CPU with NUM_GPUS 0"
    if capability >= (7, 5):
        # CUDA 12.8, the first to know Blackwell, came with torch 2.7.
        return install + ('"torch>=2.7" torchvision' if capability >= (10, 0) else "torch torchvision")
    # The present version if there is a CUDA 12.6 build of it, else the nearest.
    major, minor = min(max(_release(torch_version), FIRST_CU126), LAST_CU126)
    dropped = int(cuda_version.partition(".")[0]) >= 13 if cuda_version else False
    reason = f"CUDA {cuda_version} has dropped this GPU, CUDA 12.6 has not: " if dropped else ""
    command = f'{reason}{install}"torch=={major}.{minor}.*" torchvision {INDEX}cu126'
    return command + (f' (or {install}"torch<2.11" torchvision)' if capability >= (7, 0) else "")


def hidden_gpu(torch_cuda: str | None, driver_cuda: tuple[int, int] | None) -> Problem:
    """Why torch sees no GPU although an NVIDIA driver is there.

    Args:
        torch_cuda: as torch.version.cuda; None in a build without CUDA.
        driver_cuda: newest CUDA (major, minor) the driver runs; None if its library libcuda is not there.
    """
    no_gpu = "an NVIDIA driver is there, but torch sees no GPU: "
    if torch_cuda is None:
        return Problem(
            no_gpu + "it is a build without CUDA", "pip install --force-reinstall torch torchvision, then check again"
        )
    if driver_cuda is None:
        return Problem(no_gpu + "libcuda is not found", "start a container with --gpus all, or reinstall the driver")
    if driver_cuda[0] >= int(torch_cuda.partition(".")[0]):
        return Problem(
            no_gpu + f"driver and torch both have CUDA {driver_cuda[0]}",
            "see what nvidia-smi says; reboot after an update of the driver, check the job's GPU allocation",
        )
    # CUDA 11.8 builds end with torch 2.7.
    build = (
        f'"torch<2.15" torchvision {INDEX}cu126' if driver_cuda[0] == 12 else f'"torch<2.8" torchvision {INDEX}cu118'
    )
    return Problem(
        no_gpu + f"the driver runs CUDA up to {driver_cuda[0]}.{driver_cuda[1]}, torch is built for {torch_cuda}",
        f"update the driver (CUDA 13 needs 580 or newer, CUDA 12 525), or pip install --force-reinstall {build}",
    )


def check_devices() -> list[Problem]:
    """GPU problems only, for the start of a run: quick, and imports nothing but torch.

    It initialises CUDA, so call it in a process that does not fork workers which use the GPU.
    A GPU hidden with CUDA_VISIBLE_DEVICES is intended and not a problem.
    """
    import torch

    if not torch.cuda.is_available():
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
        return [] if hidden or not _driver_present() else [hidden_gpu(torch.version.cuda, _driver_cuda())]
    if torch.version.cuda is None:
        return []  # ROCm: its architectures have other names
    try:
        return _kernel_problems()
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        return [
            Problem(f"CUDA does not start ({reason})", "see what nvidia-smi says; another program may hold the GPU")
        ]


def check() -> list[Problem]:
    """All problems of this machine, GPU problems first."""
    loaded = {name: _load(name) for name in LIBRARIES}
    failed = {name: module for name, module in loaded.items() if isinstance(module, Exception)}
    problems = check_devices() if "torch" not in failed else []
    problems += [_import_problem(name, error) for name, error in failed.items()]
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


def main() -> int:
    """Print versions, devices, decoders and problems; 0 if there is no problem, else 1."""
    problems = check()
    for title, facts in (("versions", _versions()), ("devices", _devices()), ("decoders", _decoders())):
        print(title)
        for name, value in facts:
            print(f"  {name:<12} {value}")
    print("problems" if problems else "no problems")
    for problem in problems:
        print(f"  {problem.what}\n    -> {problem.remedy}")
    return 1 if problems else 0


def _runs_on(capability: tuple[int, int], arch: str) -> bool:
    match = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", arch)
    if not match:
        return False
    built = int(match[2]), int(match[3])
    if match[4] == "a":
        return built == capability
    # A family ("f") stays within one major for PTX, too.
    if match[1] == "sm" or match[4] == "f":
        return built[0] == capability[0] and built <= capability
    return built <= capability


def _load(name: str) -> ModuleType | Exception:
    try:
        return importlib.import_module(name)
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        # A torchvision built for another torch raises any of these, a missing system library the first two.
        return error


def _import_problem(name: str, error: Exception) -> Problem:
    reason = " ".join(str(error).split())
    torch_version = getattr(sys.modules.get("torch"), "__version__", None)
    return Problem(f"{name} cannot be imported ({reason})", import_remedy(name, reason, torch_version))


def _kernel_problems() -> list[Problem]:
    import torch

    unfit = defaultdict(list)
    for i in range(torch.cuda.device_count()):
        capability = torch.cuda.get_device_capability(i)
        if missing_kernels(capability, torch.cuda.get_arch_list()):
            unfit[torch.cuda.get_device_name(i), capability].append(str(i))
    return [
        Problem(
            f"torch {torch.__version__} has no kernels for GPU {','.join(gpus)} ({name}, {_sm(capability)})",
            advice_for(capability, torch.__version__, torch.version.cuda),
        )
        for (name, capability), gpus in unfit.items()
    ]


def _torchvision_problems() -> list[Problem]:
    import torch
    from torchvision.ops import nms

    try:
        # Its compiled part is loaded lazily: only a call shows whether it fits this torch.
        nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except (RuntimeError, NotImplementedError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        what = f"torchvision {_version('torchvision')} does not fit torch {torch.__version__} ({reason})"
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


def _versions() -> list[tuple[str, str]]:
    facts = [("python", sys.version.split()[0]), ("transm3e", transm3e.__version__)]
    facts += [(name, _version(name)) for name in LIBRARIES]
    torch = _load("torch")
    if not isinstance(torch, Exception):
        build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
        facts += [("torch build", f"{build}, cuDNN {torch.backends.cudnn.version() or 'none'}")]
        facts += [("torch GPUs", " ".join(torch.cuda.get_arch_list()) or "none")]
    return facts


def _devices() -> list[tuple[str, str]]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts = [("cpu", f"{cores} cores usable, workers start by {multiprocessing.get_all_start_methods()[0]}")]
    if SHM.is_dir():
        usage = shutil.disk_usage(SHM)
        facts += [(str(SHM), f"{usage.free / GIB:.1f} of {usage.total / GIB:.1f} GiB free")]
    torch = _load("torch")
    count = 0 if isinstance(torch, Exception) else torch.cuda.device_count()
    for i in range(count):
        gpu = torch.cuda.get_device_properties(i)  # type: ignore[union-attr]
        facts += [(f"gpu {i}", f"{gpu.name}, {_sm((gpu.major, gpu.minor))}, {gpu.total_memory / GIB:.1f} GiB")]
    return facts if count else [*facts, ("gpu", "none")]


def _decoders() -> list[tuple[str, str]]:
    av = _load("av")
    facts = []
    if not isinstance(av, Exception):
        facts += [("PyAV", ", ".join(f"{codec} {'yes' if _decodes(codec) else 'no'}" for codec in CODECS))]
        numbers = {name: ".".join(map(str, version)) for name, version in av.library_versions.items()}
        facts += [("FFmpeg", ", ".join(f"{name} {numbers[name]}" for name in ("libavcodec", "libavformat")))]
    codec = _load("torchcodec")
    optional = "not usable (optional)" if isinstance(codec, Exception) else _version("torchcodec")
    return [*facts, ("torchcodec", optional)]


def _decodes(codec: str) -> bool:
    import av

    try:
        return bool(av.Codec(codec, "r"))
    except ValueError:  # PyAV's UnknownCodecError is one
        return False


def _version(name: str) -> str:
    module = _load(name)
    return "missing" if isinstance(module, Exception) else str(getattr(module, "__version__", "unknown"))


def _driver_present() -> bool:
    return DRIVER.exists() or shutil.which("nvidia-smi") is not None


def _driver_cuda() -> tuple[int, int] | None:
    try:
        library = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return None
    version = ctypes.c_int()
    # 13010 stands for 13.1; the call needs no initialised device.
    failed = library.cuDriverGetVersion(ctypes.byref(version))
    return None if failed or not version.value else (version.value // 1000, version.value % 1000 // 10)


def _sm(capability: tuple[int, int]) -> str:
    return f"sm_{capability[0]}{capability[1]}"


def _release(torch_version: str) -> tuple[int, int]:
    major, minor = torch_version.split(".")[:2]
    return int(major), int(minor)


if __name__ == "__main__":
    sys.exit(main())
