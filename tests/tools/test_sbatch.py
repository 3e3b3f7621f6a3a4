"""tools/slurm/train.sbatch with stand-ins for srun and scontrol: what is run, and when the job is queued again."""

import os
import subprocess

import pytest


@pytest.fixture
def sbatch(repo, tmp_path):
    """sbatch(status, **variables) -> (exit status, srun's words, scontrol's words) where srun ends with `status`."""
    for name, end in (("srun", "exit $SRUN_STATUS"), ("scontrol", "exit 0")):
        (tmp_path / name).write_text(f'#!/bin/bash\necho "$@" > {tmp_path}/{name}.txt\n{end}\n')
        (tmp_path / name).chmod(0o755)

    def call(status, **variables):
        env = {
            **os.environ,
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "SLURM_JOB_ID": "7",
            "SRUN_STATUS": str(status),
        }
        script = ["bash", str(repo / "tools" / "slurm" / "train.sbatch"), "--cfg", "a.yaml", "RNG_SEED", "1"]
        done = subprocess.run(script, env={**env, **variables}, check=False, capture_output=True)
        files = [tmp_path / f"{name}.txt" for name in ("srun", "scontrol")]
        return done.returncode, *(file.read_text().split() if file.is_file() else [] for file in files)

    return call


def test_one_task_per_gpu_with_the_users_words(sbatch):
    status, srun, scontrol = sbatch(0, SLURM_NTASKS_PER_NODE="8", PYTHON="py")
    assert (status, scontrol) == (0, [])
    assert srun[1:] == ["py", "tools/run_net.py", "--cfg", "a.yaml", "RNG_SEED", "1", "NUM_GPUS", "8"]


@pytest.mark.parametrize("status", [75, 76, 134, 137, 138])
def test_a_job_that_can_go_on_is_queued_again_but_not_for_ever(sbatch, status):
    assert sbatch(status)[0::2] == (0, ["requeue", "7"])
    assert sbatch(status, SLURM_RESTART_COUNT="49")[0] == 0
    assert sbatch(status, SLURM_RESTART_COUNT="50")[0] == status


@pytest.mark.parametrize("status", [1, 2, 130, 143])
def test_a_mistake_is_not_queued_again(sbatch, status):
    assert sbatch(status)[0::2] == (status, [])
