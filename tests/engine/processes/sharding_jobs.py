"""What the two processes of test_sharding.py run: trainings in DDP and in shards, and parts of them, on the CPU."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

import transm3e.engine.processes.launch
from transm3e.config import get_cfg
from transm3e.config.node import merge_opts
from transm3e.data.types import Batch
from transm3e.engine.average import WeightAverage
from transm3e.engine.processes import distributed as d
from transm3e.engine.processes.parallel import gradient_sync, wrap
from transm3e.engine.processes.sharding import shard, shard_model, whole
from transm3e.engine.train import Trainer
from transm3e.models import build_model
from transm3e.models.output import ModelOutput
from transm3e.tasks import Classify, build_task
from transm3e.tasks.build import build_distill

torch.set_num_threads(1)
CPU = torch.device("cpu")
# Each of two "GPUs" is the CPU. Whoever imports this puts it back.
transm3e.engine.processes.launch.select_device = lambda *_args, **_more: CPU
CLIPS, EPOCHS = 8, 2
SIZES = (
    *("MVIT.EMBED_DIM", 8, "MVIT.DEPTH", 3, "MVIT.DIM_MUL", [[1, 2.0]], "MVIT.HEAD_MUL", [[1, 2.0]]),
    *("MVIT.POOL_Q_STRIDE", [[0, 1, 1, 1], [1, 1, 2, 2], [2, 1, 1, 1]], "MVIT.POOL_KV_STRIDE_ADAPTIVE", [1, 2, 2]),
    *("DATA.NUM_FRAMES", 4, "DATA.TRAIN_CROP_SIZE", 32, "DATA.TEST_CROP_SIZE", 32, "TRANSM3E.NUM_MCTS", 3),
)
STUDENT = ("TRANSM3E.RECEIVERS", True, "TRANSM3E.FUSION", "mctf", "MVIT.DROPPATH_RATE", 0.5)
RUN = ("SOLVER.MAX_EPOCH", EPOCHS, "LOG_PERIOD", 1, "TENSORBOARD.ENABLE", False, "SOLVER.BASE_LR", 1e-3)
# Batches are of 2 per process, so that these are one step of 2 parts per epoch; and every gradient is clipped.
PARTS = ("TRAIN.BATCH_SIZE", 8, "TRAIN.ACCUM_STEPS", 2, "SOLVER.CLIP_GRAD_L2NORM", 0.01)
RECOMPUTED = (
    *("MODEL.ACT_CHECKPOINT", True, "TRAIN.MIXED_PRECISION", True),
    *("SOLVER.EMA_DECAY", 0.5, "MODEL.FREEZE", ["backbone.patch_embed"]),
)
# What one process and two compute alike.
ALIKE = (*STUDENT, *PARTS, "MVIT.DROPPATH_RATE", 0.0, "MCTF.DROPPATH_RATE", 0.0)


class Stop(Exception):
    """The training ends here."""


class Loader:
    """The same clips in every epoch, each process its own; `stop` before this epoch."""

    batch_size = 2

    def __init__(self, stop: int = -1) -> None:
        draw = torch.Generator().manual_seed(0)
        self.clips = torch.randint(0, 256, (CLIPS, 3, 4, 32, 32), generator=draw, dtype=torch.uint8)
        self.labels = (torch.rand(CLIPS, 20, generator=draw) < 0.3).float()
        self.stop = stop

    def __len__(self) -> int:
        return CLIPS // self.batch_size // d.world_size()

    def epoch(self, number: int, start_step: int = 0) -> Iterator[Batch]:
        if number == self.stop:
            raise Stop
        own = torch.arange(CLIPS).view(-1, d.world_size(), self.batch_size)[:, d.rank()]
        for rows in own[start_step:]:
            yield self.batch(rows)

    def batch(self, rows: Tensor) -> Batch:
        paths = [f"{row}.mp4" for row in rows]
        return Batch({"rgb": self.clips[rows]}, self.labels[rows], rows, torch.zeros_like(rows), paths, [])


def config(*options: object) -> CfgNode:
    cfg = get_cfg()
    merge_opts(cfg, [*SIZES, *RUN, "NUM_GPUS", 0, "LOG_MODEL_INFO", False, *options])
    return cfg


def train(folder: Path, *options: object, stop: int = -1) -> None:
    """A run of the small model in `folder`; validation scores three clips in the first process and one in the other."""
    cfg = config("OUTPUT_DIR", str(folder), *options)
    torch.manual_seed(d.rank())
    loader, task = Loader(stop), build_task(cfg, CPU)
    rows = torch.arange(4).split([3, 1] if d.world_size() == 2 else [4])[d.rank()]

    def validate() -> dict[str, float]:
        scores = [task.predict(loader.batch(row[None])) for row in rows]
        return {"known_val": torch.cat([torch.cat(share) for share in d.gather(scores)]).mean().item()}

    trainer = Trainer.from_cfg(cfg, task=task, loader=loader, validate=validate, device=CPU, origin={})
    logged: list[Mapping[str, Any]] = []
    trainer.recorder.record = lambda stats, _step: logged.append(stats)  # type: ignore[method-assign]
    try:
        trainer.run()
    except Stop:
        d.barrier()
    torch.save(
        [stats["grad_norm"] for stats in logged if stats["_type"] == "train_iter_"], folder / f"norms_{d.rank()}.pt"
    )


def trainings(folder: str, _device: torch.device) -> None:
    """In DDP, in shards, and begun in one and finished in the other."""
    root, fsdp = Path(folder), ("TRAIN.FSDP", True)
    for name, options in {"": (*STUDENT, *PARTS), "recomputed": (*PARTS, *RECOMPUTED)}.items():
        train(root / f"ddp{name}", *options)
        train(root / f"fsdp{name}", *options, *fsdp)
    for name, first, second in (("fsdp_ddp", fsdp, ()), ("ddp_fsdp", (), fsdp)):
        train(root / name, *STUDENT, *PARTS, *first, stop=1)
        train(root / name, *STUDENT, *PARTS, *second)
    train(root / "fsdp_one", *ALIKE, *fsdp, stop=1)
    parts = {
        "unit": one_unit(),
        "average": averaged(),
        "scaler": scaled(),
        "memory": memory(),
        "distilled": distilled(),
    }
    torch.save(parts, root / f"parts_{d.rank()}.pt")


class Normed(nn.Module):
    """A model without blocks, with a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = nn.BatchNorm1d(3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> ModelOutput:
        return ModelOutput(self.head(self.norm(x)))


class Task(Classify):
    """As much of a task as shard() reads."""

    def __init__(self, model: nn.Module) -> None:
        self.model = self.replica = model


def one_unit() -> dict[str, Any]:
    """Gradient of the mean over processes, after one part that is not all-reduced, and what evaluation sees."""
    torch.manual_seed(d.rank())
    task = Task(Normed())
    start = copy.deepcopy(task.model.state_dict())
    seen: dict[str, Any] = {}

    def look() -> None:
        model = task.model
        seen["types"] = {type(p).__name__ for p in model.parameters()}
        seen["state"] = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        if d.rank() == 0:
            # The other one does not come.
            model.eval()(torch.ones(1, 3))

    validate = shard(task, CPU, look)
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(2, 2, 5, 3, generator=draw)
    for part in range(2):
        seen[f"all-reduced before part {part}"] = [p.grad is not None for p in task.model.parameters()]
        with gradient_sync(task.replica, last=part == 1):
            task.model(inputs[part, d.rank()]).logits.square().sum().backward()
    gradients = {name: whole(p.grad).clone() for name, p in task.model.named_parameters()}
    validate()
    return {"start": start, "inputs": inputs, "gradients": gradients, "seen": seen, "model": type(task.model).__name__}


def averaged() -> list[list[float]]:
    """Outputs with the weights, with their average in place, and after it: each pass is without a backward one."""
    torch.manual_seed(0)
    model = shard_model(Normed(), CPU).eval()
    average = WeightAverage(model, 0.5)

    def output() -> list[float]:
        with torch.no_grad():
            return model(torch.ones(1, 3)).logits[0].tolist()

    with torch.no_grad():
        for p in model.parameters():
            p.mul_(2)
    found = [output()]
    with average.in_place():
        found.append(output())
    return [*found, output()]


def scaled() -> list[Any]:
    """Weights and scale after a step with one infinite number in one process's gradient, and after one without."""
    torch.manual_seed(0)
    model = shard_model(nn.Linear(3, 2), CPU)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    found: list[Any] = [(whole(model.weight).tolist(), scaler.get_scale())]
    for bad in (True, False):
        factor = float("inf") if bad and d.rank() == 1 else 1.0
        scaler.scale((model(torch.ones(1, 3)) * factor).sum()).backward()
        scaler.unscale_(optimizer)
        norm = whole(nn.utils.clip_grad_norm_(model.parameters(), 1.0)).item()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        found.append((whole(model.weight).tolist(), scaler.get_scale(), norm))
    return found


def distilled() -> dict[str, Any]:
    """Losses and gradients of a student in DDP and in shards, and how much of its teacher each process has."""
    cfg, found = config(*STUDENT, "TASK", "distill", "DISTILL.PAIR_CASE", 1), {}
    for name in ("ddp", "fsdp"):
        torch.manual_seed(0)
        task = build_distill(cfg, build_model(cfg), build_model(config("DATA.MODALITY", "rgb_diff")))
        if name == "fsdp":
            shard(task, CPU, dict)
        else:
            task.replica = wrap(task.model, CPU)
        task.train()
        torch.manual_seed(d.rank())
        losses = task(Loader().batch(torch.arange(2) + 2 * d.rank()))
        losses["loss"].backward()
        found[name] = {
            "losses": [value.item() for value in losses.values() if not value.dim()],
            "gradients": {name: whole(p.grad).clone() for name, p in task.model.named_parameters()},
            "teacher": [(type(p).__name__, p.grad) for p in task.teacher.parameters()],
        }
    return found


def memory() -> dict[str, Sequence[int]]:
    """Numbers that this process keeps of the weights and of the optimiser's state, and of how many."""
    task = build_task(config(*STUDENT), CPU)
    count = sum(p.numel() for p in task.model.parameters())
    model = shard_model(task.model, CPU)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    task.replica = model
    task(Loader().batch(torch.arange(2)))["loss"].backward()
    optimizer.step()
    states = [entry["exp_avg"].to_local().numel() for entry in optimizer.state.values()]
    return {"weights": [sum(p.to_local().numel() for p in model.parameters()), count], "moments": [sum(states), count]}
