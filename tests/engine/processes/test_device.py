"""Rank, world size and init_method from torchrun's, srun's and PySlowFast's settings."""

import pytest

from transm3e.config import get_cfg
from transm3e.config.node import merge_opts
from transm3e.engine.processes.device import ProcessInfo, first_host, launched_process, sharded_process, tasks_per_node
from transm3e.errors import UserError

TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
SRUN = {
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
    "SLURM_STEP_NODELIST": "gpu[07,09]",
    "SLURM_JOB_ID": "31234",
    "SLURM_STEP_ID": "0",
}


def config(*opts):
    cfg = get_cfg()
    merge_opts(cfg, ["NUM_GPUS", 4, *opts])
    return cfg


@pytest.mark.parametrize("opts", [(), ("NUM_GPUS", 0), ("NUM_SHARDS", 2)])
def test_torchrun_sets_everything(opts):
    process = launched_process(config(*opts), "", TORCHRUN)
    assert process == ProcessInfo(5, 8, 1, 4, "env://")
    assert process.num_hosts == 2


@pytest.mark.parametrize("opts", [(), ("NUM_GPUS", 0), ("NUM_SHARDS", 2)])
def test_srun_sets_everything_and_the_first_node_is_the_rendezvous(opts):
    assert launched_process(config(*opts), "", SRUN) == ProcessInfo(5, 8, 1, 4, "tcp://gpu07:21234")


def test_an_address_that_is_set_wins_over_the_nodes():
    env = SRUN | {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}
    assert launched_process(config(), "", env).init_method == "tcp://10.0.0.1:29500"


def test_concurrent_steps_of_a_job_use_different_ports():
    ports = [launched_process(config(), "", SRUN | {"SLURM_STEP_ID": str(step)}).init_method for step in (0, 1)]
    assert ports[0] != ports[1]


def test_torchrun_within_srun_is_torchruns():
    assert launched_process(config(), "", SRUN | TORCHRUN).init_method == "env://"


@pytest.mark.parametrize(
    "env",
    [
        {},
        # A batch script that calls python without srun: one process, whatever the job has.
        {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "8", "SLURM_JOB_ID": "3"},
        SRUN | {"SLURM_STEP_NUM_TASKS": "1"},
    ],
)
def test_a_single_process_starts_the_others_itself(env):
    assert launched_process(config(), "", env) is None


def test_with_an_init_method_srun_only_starts_pyslowfasts_shards():
    assert launched_process(config(), "tcp://gpu07:1234", SRUN) is None
    cfg = config("NUM_SHARDS", 3, "SHARD_ID", 2)
    assert sharded_process(cfg, "tcp://gpu07:1234", 1) == ProcessInfo(9, 12, 1, 4, "tcp://gpu07:1234")
    cpu = config("NUM_GPUS", 0, "NUM_SHARDS", 3, "SHARD_ID", 2)
    assert sharded_process(cpu, "tcp://gpu07:1234", 0) == ProcessInfo(2, 3, 0, 1, "tcp://gpu07:1234")


@pytest.mark.parametrize(
    ("env", "opts", "message"),
    [
        (
            TORCHRUN,
            ["NUM_GPUS", 2],
            r"torchrun started 4 process\(es\) on this host, but NUM_GPUS is 2; make --nproc_per_node",
        ),
        (
            SRUN,
            ["NUM_GPUS", 2],
            r"srun started 4 process\(es\) on this host, but NUM_GPUS is 2; make --ntasks-per-node",
        ),
        (TORCHRUN, ["NUM_SHARDS", 3], r"on 2 host\(s\), but NUM_SHARDS is 3; leave it out"),
        (
            TORCHRUN | {"LOCAL_WORLD_SIZE": "3"},
            ["NUM_GPUS", 3],
            "8 processes, 3 of them on this host; every host",
        ),
        (
            SRUN | {"SLURM_STEP_TASKS_PER_NODE": "5,3"},
            ["NUM_GPUS", 5],
            r"\[5, 3\] tasks on the nodes; start the same number on each",
        ),
    ],
)
def test_numbers_that_contradict_the_config_are_a_users_error(env, opts, message):
    with pytest.raises(UserError, match=message):
        launched_process(config(*opts), "", env)


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("gpu07", "gpu07"),
        ("gpu-1,gpu-2", "gpu-1"),
        ("gpu[07-09,12],login", "gpu07"),
        ("gpu[3,1]", "gpu3"),
        ("rack[1-2]node[004-006].local", "rack1node004.local"),
        ("a.b.c", "a.b.c"),
    ],
)
def test_the_first_host_of_slurms_lists(nodes, host):
    assert first_host(nodes) == host


@pytest.mark.parametrize("nodes", ["", "[1-2]", ",a"])
def test_what_is_no_list_of_hosts_is_refused(nodes):
    with pytest.raises(UserError, match="set MASTER_ADDR and MASTER_PORT"):
        first_host(nodes)


def test_tasks_per_node():
    assert tasks_per_node("4(x2),3") == [4, 4, 3]
    assert tasks_per_node("2") == [2]
    with pytest.raises(UserError, match="expected a form such as"):
        tasks_per_node("4x2")
