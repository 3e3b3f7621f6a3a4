"""Rank, world size and init_method of this process, from torchrun, srun or PySlowFast's own flags."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from fvcore.common.config import CfgNode

from transm3e.errors import UserError

# Ports from this one on are free on most hosts. The job's number selects one, so that two jobs on a node use different ones.
FIRST_PORT, PORTS = 20000, 10000


@dataclass(frozen=True)
class ProcessInfo:
    """One process of a run.

    Attributes:
        rank, world_size: its number among all processes, from 0, and how many there are.
        local_rank, local_size: the same on its host; every host runs the same number.
        init_method: address of the rendezvous, as torch.distributed takes it.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_size: int = 1
    init_method: str = ""

    @property
    def num_hosts(self) -> int:
        return self.world_size // self.local_size


def launched_process(cfg: CfgNode, init_method: str, env: Mapping[str, str]) -> ProcessInfo | None:
    """This process, if torchrun or srun started it as one of several; None if this program starts the processes.

    Args:
        cfg: NUM_GPUS and NUM_SHARDS are compared with what was started.
        init_method: from the command line; if given, srun is assumed to have started one process per host, as
            PySlowFast expects.

    Raises:
        UserError: the number of processes contradicts NUM_GPUS or NUM_SHARDS, or differs between hosts.
    """
    if "LOCAL_RANK" in env and "WORLD_SIZE" in env:
        process = _from_torchrun(env)
        launcher, remedy = "torchrun", "--nproc_per_node"
    # Only srun sets this; in a batch script that calls python directly one process runs, whatever SLURM_NTASKS says.
    elif int(env.get("SLURM_STEP_NUM_TASKS", "1")) > 1 and not init_method:
        process = _from_srun(env)
        launcher, remedy = "srun", "--ntasks-per-node"
    else:
        return None
    if cfg.NUM_GPUS and process.local_size != cfg.NUM_GPUS:
        raise UserError(
            f"{launcher} started {process.local_size} process(es) on this host, but NUM_GPUS is {cfg.NUM_GPUS}; make "
            f"{remedy} and NUM_GPUS equal (NUM_GPUS 0: processes on the CPU, as many as {launcher} starts)"
        )
    if cfg.NUM_SHARDS not in (1, process.num_hosts):
        raise UserError(
            f"{launcher} started processes on {process.num_hosts} host(s), but NUM_SHARDS is {cfg.NUM_SHARDS}; leave "
            "it out: the launcher sets it"
        )
    return process


def sharded_process(cfg: CfgNode, init_method: str, local_rank: int) -> ProcessInfo:
    """A process that this program starts: one per GPU of this host, or one on its CPU."""
    local_size = max(1, cfg.NUM_GPUS)
    return ProcessInfo(
        cfg.SHARD_ID * local_size + local_rank, local_size * cfg.NUM_SHARDS, local_rank, local_size, init_method
    )


def _from_torchrun(env: Mapping[str, str]) -> ProcessInfo:
    rank, world_size, local_rank = int(env["RANK"]), int(env["WORLD_SIZE"]), int(env["LOCAL_RANK"])
    local_size = int(env.get("LOCAL_WORLD_SIZE", world_size))
    _check_equal_sizes(world_size, local_size, "torchrun", "--nproc_per_node")
    return ProcessInfo(rank, world_size, local_rank, local_size, "env://")


def _from_srun(env: Mapping[str, str]) -> ProcessInfo:
    rank, world_size, local_rank = (int(env[f"SLURM_{key}"]) for key in ("PROCID", "STEP_NUM_TASKS", "LOCALID"))
    counts = tasks_per_node(env.get("SLURM_STEP_TASKS_PER_NODE") or env.get("SLURM_TASKS_PER_NODE") or str(world_size))
    if len(set(counts)) > 1:
        raise UserError(
            f"srun starts {counts} tasks on the nodes; start the same number on each, with --ntasks-per-node"
        )
    _check_equal_sizes(world_size, counts[0], "srun", "--ntasks-per-node")
    if "MASTER_ADDR" in env and "MASTER_PORT" in env:
        init_method = f"tcp://{env['MASTER_ADDR']}:{env['MASTER_PORT']}"
    else:
        nodes = env.get("SLURM_STEP_NODELIST") or env.get("SLURM_JOB_NODELIST") or "127.0.0.1"
        # Concurrent steps of one job have different step numbers.
        number = int(env.get("SLURM_JOB_ID", "0")) + 97 * int(env.get("SLURM_STEP_ID", "0"))
        init_method = f"tcp://{first_host(nodes)}:{FIRST_PORT + number % PORTS}"
    return ProcessInfo(rank, world_size, local_rank, counts[0], init_method)


def _check_equal_sizes(world_size: int, local_size: int, launcher: str, option: str) -> None:
    if world_size % local_size:
        raise UserError(
            f"{launcher} started {world_size} processes, {local_size} of them on this host; "
            f"every host must run the same number: set {option}"
        )


def first_host(nodes: str) -> str:
    """The first host of a list as SLURM writes it: "gpu[07-09,12],login" -> "gpu07".

    Raises:
        UserError: the text is not such a list.
    """
    match = re.match(r"[^\[\],\s]+(?:\[[^\]]+\][^\[\],\s]*)*", nodes)
    if not match:
        raise UserError(
            f"SLURM names the nodes {nodes!r}, which is not a list of hosts; set MASTER_ADDR and MASTER_PORT"
        )
    # The first number of every bracket, with its leading zeros.
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", match[0])


def tasks_per_node(text: str) -> list[int]:
    """SLURM's "4(x2),3" -> [4, 4, 3].

    Raises:
        UserError: the text has another format.
    """
    counts: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part.strip())
        if not match:
            raise UserError(
                f"SLURM's tasks per node are {text!r}; expected a form such as 4(x2),3: set --ntasks-per-node"
            )
        counts += [int(match[1])] * int(match[2] or 1)
    return counts
