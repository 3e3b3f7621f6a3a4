"""What torchrun's, srun's and PySlowFast's words say of a process: its number, how many there are, where they meet."""

import pytest

from transm3e.config import get_cfg
from transm3e.config.node import merge_opts
from transm3e.engine.processes.device import Place, first_host, launched_place, shard_place, tasks_per_node
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
def test_torchrun_says_all(opts):
    place = launched_place(config(*opts), "", TORCHRUN)
    assert place == Place(5, 8, 1, 4, "env://")
    assert place.machines == 2


@pytest.mark.parametrize("opts", [(), ("NUM_GPUS", 0), ("NUM_SHARDS", 2)])
def test_srun_says_all_and_they_meet_on_the_first_node(opts):
    assert launched_place(config(*opts), "", SRUN) == Place(5, 8, 1, 4, "tcp://gpu07:21234")


def test_a_meeting_point_that_is_set_wins_over_the_nodes():
    env = SRUN | {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}
    assert launched_place(config(), "", env).meeting == "tcp://10.0.0.1:29500"


def test_steps_side_by_side_in_a_job_meet_at_other_ports():
    ports = [launched_place(config(), "", SRUN | {"SLURM_STEP_ID": str(step)}).meeting for step in (0, 1)]
    assert ports[0] != ports[1]


def test_torchrun_within_srun_is_torchruns():
    assert launched_place(config(), "", SRUN | TORCHRUN).meeting == "env://"


@pytest.mark.parametrize(
    "env",
    [
        {},
        # A batch script that calls python without srun: one process, whatever the job has.
        {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "8", "SLURM_JOB_ID": "3"},
        SRUN | {"SLURM_STEP_NUM_TASKS": "1"},
    ],
)
def test_a_process_that_nobody_multiplied_starts_its_own(env):
    assert launched_place(config(), "", env) is None


def test_with_an_init_method_srun_only_starts_pyslowfasts_shards():
    assert launched_place(config(), "tcp://gpu07:1234", SRUN) is None
    cfg = config("NUM_SHARDS", 3, "SHARD_ID", 2)
    assert shard_place(cfg, "tcp://gpu07:1234", 1) == Place(9, 12, 1, 4, "tcp://gpu07:1234")
    cpu = config("NUM_GPUS", 0, "NUM_SHARDS", 3, "SHARD_ID", 2)
    assert shard_place(cpu, "tcp://gpu07:1234", 0) == Place(2, 3, 0, 1, "tcp://gpu07:1234")


@pytest.mark.parametrize(
    ("env", "opts", "message"),
    [
        (
            TORCHRUN,
            ["NUM_GPUS", 2],
            r"torchrun started 4 process\(es\) on this machine, but NUM_GPUS is 2; make --nproc_per_node",
        ),
        (
            SRUN,
            ["NUM_GPUS", 2],
            r"srun started 4 process\(es\) on this machine, but NUM_GPUS is 2; make --ntasks-per-node",
        ),
        (TORCHRUN, ["NUM_SHARDS", 3], r"on 2 machine\(s\), but NUM_SHARDS is 3; leave NUM_SHARDS away"),
        (
            TORCHRUN | {"LOCAL_WORLD_SIZE": "3"},
            ["NUM_GPUS", 3],
            "8 processes, 3 of them on this machine; every machine",
        ),
        (
            SRUN | {"SLURM_STEP_TASKS_PER_NODE": "5,3"},
            ["NUM_GPUS", 5],
            r"\[5, 3\] tasks on the nodes; give every node as many",
        ),
    ],
)
def test_numbers_that_contradict_the_config_are_a_users_error(env, opts, message):
    with pytest.raises(UserError, match=message):
        launched_place(config(*opts), "", env)


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
    with pytest.raises(UserError, match="expected such as"):
        tasks_per_node("4x2")
