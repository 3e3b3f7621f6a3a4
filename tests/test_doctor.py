"""The doctor: which GPU a torch build serves, what it advises, and that it finds each problem. GPUs are faked."""

import os
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from transm3e.doctor import Problem, __main__, check_devices, libraries, trying
from transm3e.doctor import gpus as gpu_checks
from transm3e.doctor.__main__ import main
from transm3e.doctor.gpus import advice_for, hidden_gpu, missing_kernels
from transm3e.doctor.libraries import check, import_remedy
from transm3e.doctor.trying import Trial, run_trials, try_all

CU130 = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]
CU126 = ["sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"]


@pytest.mark.parametrize(
    ("capability", "arch_list", "missing"),
    [
        ((7, 0), CU130, True),  # V100
        ((7, 0), CU126, False),
        ((6, 1), CU126, False),  # GTX 1080 runs sm_60
        ((7, 5), ["sm_70"], False),
        ((7, 0), ["sm_75"], True),  # a lower minor does not run a higher one
        ((8, 9), CU130, False),  # RTX 4090 runs sm_86
        ((9, 0), ["sm_80", "sm_86"], True),
        ((9, 0), ["sm_80", "compute_80"], False),  # PTX is compiled for newer GPUs
        ((7, 5), ["compute_80"], True),  # not for older ones
        ((12, 0), CU126, True),
        ((12, 1), CU130, False),
        ((10, 0), ["sm_120"], True),
        ((9, 0), ["sm_90a"], False),
        ((9, 1), ["sm_90a"], True),
        ((9, 1), ["compute_90a"], True),
        ((10, 3), ["sm_100f"], False),
        ((12, 0), ["compute_100f"], True),
        ((9, 0), [], True),
        ((9, 0), ["gfx90a"], True),
    ],
)
def test_missing_kernels(capability, arch_list, missing):
    assert missing_kernels(capability, arch_list) is missing


@pytest.mark.parametrize(
    ("capability", "version", "cuda", "parts"),
    [
        ((7, 0), "2.14.1+cu130", "13.0", ['"torch==2.14.*"', "whl/cu126", '"torch<2.11"', "CUDA 13.0 has dropped"]),
        ((7, 0), "2.12.1+cu128", "12.8", ['pip install --force-reinstall "torch==2.12.*"', "whl/cu126"]),
        ((7, 0), "2.15.0a0+git1", "13.2", ['"torch==2.14.*"', "whl/cu126"]),
        ((7, 0), "3.0.0", "13.2", ['"torch==2.14.*"']),
        ((6, 1), "2.4.0", None, ['"torch==2.6.*"', "whl/cu126"]),
        ((12, 0), "2.6.0+cu124", "12.4", ['"torch>=2.7" torchvision']),
        ((8, 0), "2.6.0+cpu", None, ["pip install --force-reinstall torch torchvision"]),
        ((3, 7), "2.14.1", "13.0", ["no supported torch", "NUM_GPUS 0"]),
    ],
)
def test_advice_names_a_command_that_fits(capability, version, cuda, parts):
    advice = advice_for(capability, version, cuda)
    assert all(part in advice for part in parts), advice
    assert ("torch<2.11" in advice) == (capability == (7, 0))


@pytest.mark.parametrize(
    ("torch_cuda", "driver_cuda", "parts"),
    [
        (None, (13, 0), ["without CUDA", "pip install"]),
        ("13.0", None, ["libcuda", "--gpus all"]),
        ("13.0", (12, 4), ["driver runs CUDA up to 12.4", "580", "whl/cu126"]),
        ("12.6", (11, 4), ["driver runs CUDA up to 11.4", '"torch<2.8"', "whl/cu118"]),
        ("13.0", (13, 1), ["nvidia-smi", "reboot"]),
    ],
)
def test_hidden_gpu(torch_cuda, driver_cuda, parts):
    assert all(part in str(hidden_gpu(torch_cuda, driver_cuda)) for part in parts)


@pytest.fixture
def gpus(monkeypatch):
    """A function that fakes GPUs of the given (name, capability) and a build with the given kernels."""

    def fake(devices, arch_list, cuda="13.0"):
        monkeypatch.setattr(torch.version, "cuda", cuda)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(devices))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(devices))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda i: devices[i][0])
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda i: devices[i][1])
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: arch_list)

    return fake


def test_unfit_gpus_are_one_problem_per_kind(gpus):
    gpus([("V100", (7, 0)), ("A100", (8, 0)), ("V100", (7, 0))], CU130)
    (problem,) = check_devices()
    assert "GPU 0,2 (V100, sm_70)" in problem.what
    assert "whl/cu126" in problem.remedy


def test_gpus_with_kernels_and_rocm_are_fine(gpus):
    gpus([("H100", (9, 0)), ("RTX 4090", (8, 9))], CU130)
    assert check_devices() == []
    gpus([("MI300X", (9, 4))], ["gfx942"], cuda=None)
    assert check_devices() == []


def test_cuda_that_does_not_start_is_a_problem(gpus, monkeypatch):
    def busy(i):
        raise RuntimeError("CUDA-capable device(s) is/are busy\nmore text")

    gpus([("V100", (7, 0))], CU130)
    monkeypatch.setattr(torch.cuda, "get_device_capability", busy)
    (problem,) = check_devices()
    assert problem.what == "CUDA does not start (CUDA-capable device(s) is/are busy)"


@pytest.mark.parametrize(
    ("driver", "visible", "count"), [(True, None, 1), (True, "0", 1), (True, "", 0), (True, "-1", 0), (False, None, 0)]
)
def test_driver_without_a_visible_gpu(gpus, monkeypatch, driver, visible, count):
    gpus([], CU130)
    monkeypatch.setattr(gpu_checks, "_driver_present", lambda: driver)
    monkeypatch.setattr(gpu_checks, "_driver_cuda", lambda: (12, 4))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [problem.what.startswith("an NVIDIA driver is there") for problem in check_devices()] == [True] * count


def test_check_devices_imports_torch_only():
    code = (
        "import sys; from transm3e.doctor import check_devices; assert 'torch' not in sys.modules; check_devices();"
        "assert not {'cv2', 'av', 'matplotlib', 'sklearn', 'torchvision'} & set(sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )


def test_import_remedies():
    lib_gl = "libGL.so.1: cannot open shared object file: No such file or directory"
    assert import_remedy("cv2", lib_gl).endswith("pip install opencv-python-headless")
    assert import_remedy("cv2", "No module named 'cv2'") == "pip install opencv-python"
    assert import_remedy("sklearn", "No module named 'sklearn'") == "pip install scikit-learn"
    pair = import_remedy("torchvision", "operator torchvision::nms does not exist", "2.14.1+cu126")
    assert pair.endswith("torch==2.14.1 torchvision --index-url https://download.pytorch.org/whl/cu126")
    assert import_remedy("torchvision", "any", "2.10.0").endswith("torch==2.10.0 torchvision")


@pytest.fixture
def sound(gpus, monkeypatch):
    """A machine without a GPU and without a problem, whatever machine the test runs on."""
    gpus([], CU130)
    monkeypatch.setattr(gpu_checks, "_driver_present", lambda: False)
    monkeypatch.setattr(libraries, "SHM_NEEDED", 0)
    monkeypatch.setattr(__main__, "try_all", lambda: [Trial("step cpu fp32", 0.0123)])


def test_a_sound_machine_exits_0_and_prints_facts(sound, capsys):
    assert main() == 0
    out = capsys.readouterr().out
    assert f"torch        {torch.__version__}" in out
    assert "h264 yes, vp9 yes, mpeg4 yes" in out
    assert "step cpu fp32      12 ms" in out
    assert out.rstrip().endswith("no problems")


def test_problems_exit_1_each_with_its_remedy(sound, monkeypatch, capsys):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(libraries, "SHM_NEEDED", 2**30)
    monkeypatch.setattr(libraries.Path, "is_dir", lambda self: True)
    monkeypatch.setattr(libraries.shutil, "disk_usage", lambda path: usage(2**26, 0, 2**26))
    monkeypatch.setattr(libraries, "CODECS", ("h264", "no_such_codec"))
    assert main() == 1
    out = capsys.readouterr().out
    assert "PyAV cannot decode no_such_codec\n    -> pip install" in out
    assert "/dev/shm has 0.06 GiB free" in out
    assert "--shm-size" in out


def test_a_library_that_fails_to_import_is_one_problem(sound, monkeypatch):
    real = libraries.importlib.import_module

    def fake(name):
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file")
        if name == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist")
        return real(name)

    monkeypatch.setattr(libraries.importlib, "import_module", fake)
    torchvision, cv2 = check()
    assert torchvision.what == "torchvision cannot be imported (operator torchvision::nms does not exist)"
    assert "pip install --force-reinstall torch==" in torchvision.remedy
    assert "opencv-python-headless" in cv2.remedy


def test_torchvision_whose_operators_do_not_fit(sound, monkeypatch):
    import torchvision.ops

    def broken(*args):
        raise RuntimeError("Couldn't load custom C++ ops.\nmore text")

    monkeypatch.setattr(torchvision.ops, "nms", broken)
    (problem,) = check()
    assert problem.what.endswith(f"does not fit torch {torch.__version__} (Couldn't load custom C++ ops.)")
    assert str(problem) == f"{problem.what}; {problem.remedy}"
    assert isinstance(problem, Problem)


def test_what_is_tried_here_works(monkeypatch):
    """Each in real processes, and one of them on a device that is not there; the ones after it are tried all the same."""
    monkeypatch.setattr(trying, "ON_CPU", ("step cpu bf16", "step cuda:99 fp32", "checkpoint", "loader"))
    done = {trial.name: trial for trial in try_all()}
    assert "step cuda:99 fp32: " in str(done.pop("step cuda:99 fp32").problem)
    assert {"step cpu bf16", "checkpoint", "loader", "group gloo 2"} <= set(done)
    assert {trial.name: trial.error for trial in done.values() if trial.failed} == {}


def test_a_trial_that_hangs_or_crashes_is_a_line_with_its_remedy(monkeypatch, tmp_path):
    """Processes that it has started end with it, and the next trials run in another process."""
    stub = """
import os, signal, subprocess, sys
_, limit, *names = sys.argv
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
with open("PIDS", "a") as file:
    file.write(f"{child.pid} ")
for name in names:
    signal.alarm(int(limit))
    match name:
        case "checkpoint": print('{"seconds": 0.5}', flush=True)
        case "group nccl 2": child.wait()
        case "loader": os.kill(os.getpid(), signal.SIGBUS)
        case _: sys.exit("libfoo.so is missing")
"""
    pids = tmp_path / "pids"
    monkeypatch.setattr(trying, "COMMAND", (sys.executable, "-c", stub.replace("PIDS", str(pids))))
    checkpoint, hanging, bus, status = run_trials(["checkpoint", "group nccl 2", "loader", "step cpu fp32"], limit_s=1)
    assert (checkpoint.shown, checkpoint.failed) == ("500 ms", False)
    assert hanging.shown == "FAILED: it hangs: no end within 1 s"
    assert "NCCL_P2P_DISABLE=1" in hanging.problem.remedy
    assert "SIGBUS" in bus.error
    assert "--shm-size=8g" in bus.problem.remedy
    assert status.error == "its process ended with status 1: libfoo.so is missing"
    time.sleep(0.2)
    states = [Path(f"/proc/{pid}/stat") for pid in pids.read_text().split()]
    assert len(states) == 3
    # Gone, or dead and not asked for yet.
    assert [file for file in states if file.exists() and file.read_text().split()[2] != "Z"] == []


def test_a_trial_that_failed_is_a_problem_unless_its_cause_is_one_already(sound, gpus, monkeypatch, capsys):
    out_of_memory = Trial("step cuda:0 fp32", error="OutOfMemoryError: CUDA out of memory")
    no_av = Trial("loader", error="ModuleNotFoundError: No module named 'av'", missing=True)
    monkeypatch.setattr(__main__, "try_all", lambda: [out_of_memory, no_av])
    monkeypatch.setattr(libraries, "SHM_NEEDED", 2**60)  # a problem of libraries
    assert main() == 1
    said = capsys.readouterr().out.split("\nproblems\n")[1]
    assert "step cuda:0 fp32: OutOfMemoryError: CUDA out of memory\n    -> another program uses the memory" in said
    assert "No module" not in said
    # A V100 with CUDA 13, where torch does not even say its cuDNN.
    gpus([("V100", (7, 0))], CU130)
    properties = SimpleNamespace(name="V100", major=7, minor=0, total_memory=2**34)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: properties)
    monkeypatch.setattr(torch.backends.cudnn, "version", raises(RuntimeError("cuDNN version 92400 is not compatible")))
    assert main() == 1
    facts, said = capsys.readouterr().out.split("\nproblems\n")
    assert "cuDNN        not usable (cuDNN version 92400 is not compatible)" in facts
    assert "has no kernels for GPU 0 (V100, sm_70)" in said
    assert "OutOfMemoryError" not in said


def raises(error):
    def call(*_):
        raise error

    return call


def test_usable_without_torch(sound, monkeypatch, capsys):
    real = libraries.importlib.import_module

    def fake(name):
        if name == "torch":
            raise ImportError("No module named 'torch'")
        return real(name)

    monkeypatch.setattr(libraries.importlib, "import_module", fake)
    monkeypatch.setattr(__main__, "try_all", try_all)
    assert main() == 1
    out = capsys.readouterr().out
    assert "not tried: torch cannot be imported" in out
    assert "torch cannot be imported (No module named 'torch')\n    -> pip install torch" in out


def test_a_decoder_that_imports_and_opens_nothing_is_a_problem(monkeypatch):
    import av

    assert libraries._codec_problems() == []

    def changed(*_, **options):
        raise TypeError(f"open() got an unexpected keyword argument {next(iter(options), '')!r}")

    monkeypatch.setattr(av, "open", changed)
    (problem,) = libraries._codec_problems()
    assert "does not write and read a video of eight frames (TypeError: open()" in problem.what
    assert problem.remedy == 'pip install --force-reinstall --only-binary av "av>=14.1,<20"'


def test_the_bounds_of_pyav_are_those_of_the_package():
    assert f'"{libraries.PYAV}"' in (Path(__file__).parents[1] / "setup.py").read_text(encoding="utf-8")
