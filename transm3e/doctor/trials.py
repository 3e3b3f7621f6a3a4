"""What the doctor tries, in a process that may hang or crash: `python -m transm3e.doctor.trials SECONDS NAME ...`.

Each trial goes through the package's own code, on tiny data that it makes itself.
"""

from __future__ import annotations

import importlib
import json
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transm3e.doctor.libraries import MOST_OFF
from transm3e.errors import first_line

USED = ("transm3e.engine.train", "transm3e.tasks", "transm3e.data")
FRAMES, SIDE, CLIPS, WORKERS = 4, 32, 2, 2
LOSS_OFF = 0.02  # of the CPU's in float32, in bf16 and fp16 too
JOIN_S = 30.0  # for processes to find each other; below the trial's own limit
RUNS = Path("runs")  # where checkpoints go, if it is there


class NotHere(Exception):
    """This trial makes no sense on this device."""


def step(device: str, precision: str) -> None:
    """Two training steps of a tiny TransM3E; the first loss must be the CPU's.

    Raises:
        NotHere: the GPU has no units for bf16.
        ValueError: the loss is another one, or not finite.
    """
    import torch

    from transm3e.engine.precision import fastest_dtype

    where = torch.device(device)
    if precision == "bf16" and fastest_dtype(where) != torch.bfloat16:
        raise NotHere("this GPU has no bf16 units, fp16 is its fast type")
    expected, loss = _losses(torch.device("cpu"), torch.float32)[0], _losses(where, _dtype(precision))[0]
    if not abs(loss - expected) <= LOSS_OFF * expected:
        raise ValueError(f"the loss is {loss:.4f}, on the CPU in fp32 {expected:.4f}")


def checkpoint() -> None:
    """A checkpoint written, marked as the best and read back.

    Raises:
        ValueError: other values come back.
    """
    import torch

    from transm3e.engine.checkpoint import CheckpointStore
    from transm3e.models.weights import read_checkpoint

    weight = torch.arange(2.0**18)
    with tempfile.TemporaryDirectory(prefix=".doctor_", dir=RUNS if RUNS.is_dir() else None) as folder:
        store = CheckpointStore(Path(folder), keep=1)
        store.mark_best(store.save({"model_state": {"weight": weight}}, 1))
        _, found = store.newest_whole(read_checkpoint)
    if not found or not torch.equal(found["model_state"]["weight"], weight):
        raise ValueError("a checkpoint is read back with other values")


def loader() -> None:
    """A batch of videos that are encoded here, from data-loading workers.

    Raises:
        ValueError: the frames have another brightness, or a video cannot be read.
    """
    import numpy as np

    from transm3e.data import build_loader
    from transm3e.data.annotations import Clip, write_clip_table
    from transm3e.data.encode import write_video

    grey = 120
    with tempfile.TemporaryDirectory() as folder:
        root, cfg = Path(folder), _tiny_cfg()
        names = [f"{number}.mp4" for number in range(2 * CLIPS)]
        for name in names:
            write_video(root / name, [np.full((48, 64, 3), grey, np.uint8)] * (2 * FRAMES), fps=8)
        write_clip_table(root / "clips.csv", [Clip(name, "train", "activity", (0,)) for name in names])
        cfg.DATA.PATH_TO_DATA_DIR, cfg.TRAIN.BATCH_SIZE, cfg.DATA_LOADER.NUM_WORKERS = str(root), CLIPS, WORKERS
        # Nothing that changes the brightness.
        cfg.AUG.AA_TYPE, cfg.AUG.COLOR_JITTER, cfg.AUG.RE_PROB = "", 0.0, 0.0
        for batch in build_loader(cfg, "train").epoch(0, 0):
            if batch.failed:
                raise ValueError(f"{batch.failed[0].path}: {batch.failed[0].reason}")
            mean = batch.clips["rgb"].float().mean().item()
            if abs(mean - grey) > MOST_OFF:
                raise ValueError(f"frames of grey {grey} come back as {mean:.1f}")


def group(backend: str, size: str) -> None:
    """Processes that form a group, as training does, and sum a tensor."""
    import torch.multiprocessing as mp

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    mp.spawn(_member, (int(size), address, backend), nprocs=int(size))


TRIALS: dict[str, Callable[..., None]] = {"step": step, "checkpoint": checkpoint, "loader": loader, "group": group}


def main(limit_s: str, names: list[str]) -> None:
    """Try each; a line of JSON of each tells its time and what went wrong. One that hangs is ended by the system."""
    for module in USED:  # not part of the time; where an import fails, so does the trial that needs it
        try:
            importlib.import_module(module)
        except ImportError:
            break
    for name in names:
        kind, *words = name.split()
        signal.alarm(int(limit_s))
        told: dict[str, str | bool] = {}
        begin = time.perf_counter()
        try:
            TRIALS[kind](*words)
        except NotHere as reason:
            told = {"skipped": str(reason)}
        except Exception as error:
            told = {"error": _said(error), "missing": isinstance(error, ImportError)}
        print(json.dumps({"seconds": time.perf_counter() - begin, **told}), flush=True)


def _said(error: Exception) -> str:
    """What happened, in one line; that of a spawned process is at the end of its traceback."""
    if "Traceback" in str(error):
        return str(error).strip().splitlines()[-1]
    return f"{type(error).__name__}: {first_line(error)}"


def _member(rank: int, size: int, address: str, backend: str) -> None:
    import torch
    import torch.distributed as dist

    from transm3e.engine.processes.device import ProcessInfo
    from transm3e.engine.processes.distributed import gather, joined, select_device

    device = select_device(size if backend == "nccl" else 0, rank)
    with joined(ProcessInfo(rank, size, rank, size, address), device, backend, JOIN_S):
        ones = torch.ones(2**20, device=device)
        dist.all_reduce(ones)
        if ones.unique().tolist() != [size] or gather(rank) != list(range(size)):
            raise ValueError(f"the sum of ones over {size} processes is {ones.unique().tolist()}")


def _losses(device: Any, dtype: Any) -> list[float]:
    import torch

    from transm3e.data.types import Batch
    from transm3e.engine.optim import build_optimizer
    from transm3e.engine.precision import Precision
    from transm3e.models import build_model
    from transm3e.tasks import build_classify

    cfg = _tiny_cfg()
    task = build_classify(cfg, build_model(cfg))
    task.to(device)
    task.train()
    optimizer, precision = build_optimizer(cfg, task.model), Precision(device, dtype)
    generator = torch.Generator().manual_seed(0)
    clips = torch.randint(0, 256, (CLIPS, 3, FRAMES, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    labels = torch.eye(cfg.MODEL.NUM_CLASSES)[:CLIPS]
    numbers = torch.arange(CLIPS)
    batch = Batch({"rgb": clips}, labels, numbers, torch.zeros_like(numbers)).to(device)
    losses = []
    for _ in range(2):
        with precision.autocast():
            loss = task(batch)["loss"]
        precision.scaler.scale(loss).backward()
        precision.scaler.step(optimizer)
        precision.scaler.update()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
    return losses


def _tiny_cfg() -> Any:
    from transm3e.config import get_cfg

    cfg = get_cfg()
    cfg.NUM_GPUS = 0
    cfg.DATA.NUM_FRAMES, cfg.DATA.SAMPLING_RATE = FRAMES, 2
    cfg.DATA.TRAIN_CROP_SIZE = cfg.DATA.TEST_CROP_SIZE = SIDE
    cfg.MVIT.EMBED_DIM, cfg.MVIT.NUM_HEADS, cfg.MVIT.DEPTH, cfg.MVIT.DROPPATH_RATE = 16, 1, 3, 0.0
    cfg.MODEL.DROPOUT_RATE = 0.0
    cfg.MVIT.DIM_MUL = cfg.MVIT.HEAD_MUL = [[1, 2.0], [2, 2.0]]
    cfg.MVIT.POOL_Q_STRIDE = [[0, 1, 1, 1], [1, 1, 2, 2], [2, 1, 1, 1]]
    cfg.MVIT.POOL_KV_STRIDE_ADAPTIVE = [1, 2, 2]
    return cfg


def _dtype(precision: str) -> Any:
    import torch

    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
