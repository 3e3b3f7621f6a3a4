"""Which GPU a torch build serves, and what to install where it serves none.

Facts about which PyTorch build carries which GPU's kernels are from PyTorch's release notes and its
support matrix (RELEASE.md): CUDA 13 builds begin at sm_75; the CUDA 12.6 builds carry sm_50 to sm_90 and
end with torch 2.14; the wheels on PyPI up to torch 2.10 (CUDA 12) carry sm_70.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from transm3e.doctor.problem import Problem
from transm3e.errors import first_line

DRIVER = Path("/proc/driver/nvidia/version")
INDEX = "--index-url https://download.pytorch.org/whl/"
FIRST_CU126, LAST_CU126 = (2, 6), (2, 14)  # torch releases with builds for CUDA 12.6


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
        return [
            Problem(
                f"CUDA does not start ({first_line(error)})",
                "see what nvidia-smi says; another program may hold the GPU",
            )
        ]


def name_of(capability: tuple[int, int]) -> str:
    return f"sm_{capability[0]}{capability[1]}"


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


def _kernel_problems() -> list[Problem]:
    import torch

    unfit = defaultdict(list)
    for i in range(torch.cuda.device_count()):
        capability = torch.cuda.get_device_capability(i)
        if missing_kernels(capability, torch.cuda.get_arch_list()):
            unfit[torch.cuda.get_device_name(i), capability].append(str(i))
    return [
        Problem(
            f"torch {torch.__version__} has no kernels for GPU {','.join(gpus)} ({name}, {name_of(capability)})",
            advice_for(capability, torch.__version__, torch.version.cuda),
        )
        for (name, capability), gpus in unfit.items()
    ]


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


def _release(torch_version: str) -> tuple[int, int]:
    major, minor = torch_version.split(".")[:2]
    return int(major), int(minor)
