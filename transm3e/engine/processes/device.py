"""Which of all processes this one is, and where they meet: as torchrun, srun or PySlowFast's own flags say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from fvcore.common.config import CfgNode

from transm3e.errors import UserError

# Ports from here on are free on most machines; which one is told by the job's number, so that two jobs on a node differ.
FIRST_PORT, PORTS = 20000, 10000


@dataclass(frozen=True)
class Place:
    """One process among all.

    Attributes:
        rank, world_size: its number among all, and how many there are.
        local_rank, local_size: the same on its machine; every machine runs as many.
        meeting: how they meet, as torch.distributed's init_method.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_size: int = 1
    meeting: str = ""

    @property
    def machines(self) -> int:
        return self.world_size // self.local_size


def launched_place(cfg: CfgNode, init_method: str, env: Mapping[str, str]) -> Place | None:
    """This process's place if torchrun or srun has started it as one of several; None: this program starts them.

    Args:
        cfg: NUM_GPUS and NUM_SHARDS are compared with what was started.
        init_method: that of the command line; where it is given, srun has only started one process per machine, as
            PySlowFast would have it.

    Raises:
        UserError: another number of processes than NUM_GPUS or NUM_SHARDS says, or machines that run unequally many.
    """
    if "LOCAL_RANK" in env and "WORLD_SIZE" in env:
        place = _of_torchrun(env)
        launcher, remedy = "torchrun", "--nproc_per_node"
    # Only srun sets this; in a batch script that calls python directly one process runs, whatever SLURM_NTASKS says.
    elif int(env.get("SLURM_STEP_NUM_TASKS", "1")) > 1 and not init_method:
        place = _of_srun(env)
        launcher, remedy = "srun", "--ntasks-per-node"
    else:
        return None
    if cfg.NUM_GPUS and place.local_size != cfg.NUM_GPUS:
        raise UserError(
            f"{launcher} started {place.local_size} process(es) on this machine, but NUM_GPUS is {cfg.NUM_GPUS}; make "
            f"{remedy} and NUM_GPUS equal (NUM_GPUS 0: processes on the CPU, as many as {launcher} starts)"
        )
    if cfg.NUM_SHARDS not in (1, place.machines):
        raise UserError(
            f"{launcher} started processes on {place.machines} machine(s), but NUM_SHARDS is {cfg.NUM_SHARDS}; leave "
            "NUM_SHARDS away, it is known here"
        )
    return place


def shard_place(cfg: CfgNode, meeting: str, local_rank: int) -> Place:
    """The place of a process that this program starts: one per GPU of this machine, or one on its CPU."""
    here = max(1, cfg.NUM_GPUS)
    return Place(cfg.SHARD_ID * here + local_rank, here * cfg.NUM_SHARDS, local_rank, here, meeting)


def _of_torchrun(env: Mapping[str, str]) -> Place:
    rank, world, local = int(env["RANK"]), int(env["WORLD_SIZE"]), int(env["LOCAL_RANK"])
    here = int(env.get("LOCAL_WORLD_SIZE", world))
    _check_even(world, here, "torchrun", "--nproc_per_node")
    return Place(rank, world, local, here, "env://")


def _of_srun(env: Mapping[str, str]) -> Place:
    rank, world, local = (int(env[f"SLURM_{key}"]) for key in ("PROCID", "STEP_NUM_TASKS", "LOCALID"))
    counts = tasks_per_node(env.get("SLURM_STEP_TASKS_PER_NODE") or env.get("SLURM_TASKS_PER_NODE") or str(world))
    if len(set(counts)) > 1:
        raise UserError(f"srun starts {counts} tasks on the nodes; give every node as many, with --ntasks-per-node")
    _check_even(world, counts[0], "srun", "--ntasks-per-node")
    if "MASTER_ADDR" in env and "MASTER_PORT" in env:
        meeting = f"tcp://{env['MASTER_ADDR']}:{env['MASTER_PORT']}"
    else:
        nodes = env.get("SLURM_STEP_NODELIST") or env.get("SLURM_JOB_NODELIST") or "127.0.0.1"
        # Job steps side by side in one job are numbered.
        number = int(env.get("SLURM_JOB_ID", "0")) + 97 * int(env.get("SLURM_STEP_ID", "0"))
        meeting = f"tcp://{first_host(nodes)}:{FIRST_PORT + number % PORTS}"
    return Place(rank, world, local, counts[0], meeting)


def _check_even(world: int, here: int, launcher: str, option: str) -> None:
    if world % here:
        raise UserError(
            f"{launcher} started {world} processes, {here} of them on this machine; every machine must run as many: set {option}"
        )


def first_host(nodes: str) -> str:
    """The first host of a list as SLURM writes it: "gpu[07-09,12],login" -> "gpu07".

    Raises:
        UserError: it is no such list.
    """
    match = re.match(r"[^\[\],\s]+(?:\[[^\]]+\][^\[\],\s]*)*", nodes)
    if not match:
        raise UserError(f"SLURM names the nodes {nodes!r}, which is no list of hosts; set MASTER_ADDR and MASTER_PORT")
    # Of every bracket the first number, with its leading zeros.
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", match[0])


def tasks_per_node(text: str) -> list[int]:
    """SLURM's "4(x2),3" -> [4, 4, 3].

    Raises:
        UserError: it is written otherwise.
    """
    counts: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part.strip())
        if not match:
            raise UserError(f"SLURM's tasks per node are {text!r}; expected such as 4(x2),3: set --ntasks-per-node")
        counts += [int(match[1])] * int(match[2] or 1)
    return counts
