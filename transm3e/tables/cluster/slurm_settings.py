"""Settings of `--slurm NAME=VALUE ...`, and their translation to submitit's parameters.

Names are sbatch's long options without leading dashes, and the parameters of submitit's SlurmExecutor.
"""

from __future__ import annotations

import difflib
import math
import re
import shlex
from collections.abc import Sequence
from typing import Any

from transm3e.errors import UserError

# Defaults: a day is a common limit of partitions; runs resume after it. The limit on requeues after time limits allows a
# run of weeks in jobs of hours and ends one that makes no progress.
DEFAULTS = {"job_name": "transm3e", "time": "24:00:00", "signal_delay_s": 90, "max_num_timeout": 100}

# Parameters of submitit, most of them sbatch's.
OF_SUBMITIT = (
    *("account", "comment", "constraint", "cpus_per_gpu", "cpus_per_task", "exclude", "exclusive", "gres", "job_name"),
    *("mail_type", "mail_user", "mem", "mem_per_cpu", "mem_per_gpu", "nodelist", "partition", "qos", "setup"),
    *("signal_delay_s", "srun_args", "teardown", "time", "wckey"),
)
# Options of sbatch that submitit has no parameters for.
OF_SBATCH = (
    *("begin", "container", "core_spec", "cpu_freq", "deadline", "delay_boot", "distribution", "export", "gpu_bind"),
    *("gpu_freq", "hint", "hold", "licenses", "mcs_label", "mem_bind", "mincpus", "network", "nice", "oversubscribe"),
    *("power", "prefer", "priority", "profile", "propagate", "requeue", "reservation", "sockets_per_node"),
    *("spread_job", "switches", "thread_spec", "threads_per_core", "tmp"),
)
OF_OURS = ("mem_gb", "max_num_timeout")
KNOWN = (*OF_SUBMITIT, *OF_SBATCH, *OF_OURS)
# Options that may stand without a value.
FLAGS = ("exclusive", "hold", "nice", "oversubscribe", "propagate", "requeue", "spread_job")
NUMBERS = ("cpus_per_gpu", "cpus_per_task", "max_num_timeout", "signal_delay_s")
# Options that are set by other means -> how.
SET_ELSEWHERE = {
    name: why
    for why, names in {
        "the tool makes the arrays": "array",
        "use --jobs": "array_parallelism",
        "the tool makes runs wait for those that they start from": "dependency",
        "the tool names the logs": "error output",
        "use --gpus-per-run (and gres=gpu:TYPE:N for a type)": "gpus gpus_per_node gpus_per_task",
        "a run is one task on one node": "nodes ntasks ntasks_per_node tasks_per_node",
        "use signal_delay_s=SECONDS": "signal",
        "use time=MINUTES": "timeout_min",
    }.items()
    for name in names.split()
}
TIME = re.compile(r"(\d+-)?\d+(:\d+){0,2}")


def slurm_settings(words: Sequence[str], gpus: int) -> dict[str, Any]:
    """Settings of a command line, completed with the defaults.

    Args:
        words: NAME=VALUE, or NAME alone for an option without value.
        gpus: per job.

    Returns:
        Parameters of submitit's SlurmExecutor, and `max_num_timeout`, which its constructor takes.

    Raises:
        UserError: an unknown setting, or a value that is not allowed.
    """
    given = dict(_setting(word) for word in words)
    numbers = {name: _number(name, given[name]) for name in NUMBERS if name in given}
    given = {**DEFAULTS, **given, **numbers}
    given["time"] = minutes(given["time"])
    if "mem_gb" in given:
        given["mem"] = f"{_number('mem_gb', given.pop('mem_gb'))}GB"
    if gpus and "gres" not in given:
        given["gpus_per_node"] = gpus
    # submitit wants lists of these: lines of the batch script, and words for srun.
    given |= {name: [given[name]] for name in ("setup", "teardown") if name in given}
    given |= {"srun_args": shlex.split(given["srun_args"])} if "srun_args" in given else {}
    # Clusters with JobRequeue=0 requeue only jobs that allow it.
    more = {"requeue": True} | {name: given.pop(name) for name in OF_SBATCH if name in given}
    # The output of submitit and of srun goes to one file, the run's log.
    return {**given, "stderr_to_stdout": True, "additional_parameters": more}


def minutes(time: str) -> int:
    """Minutes, rounded up, of a time as sbatch takes it: M, M:S, H:M:S, D-H, D-H:M or D-H:M:S.

    Raises:
        UserError: it is not of this form, or 0.
    """
    total = 0
    if TIME.fullmatch(time):
        days, _, rest = time.rpartition("-")
        parts = [int(part) for part in rest.split(":")]
        # M and M:S begin with minutes.
        hours, mins, seconds = (*([] if days or len(parts) > 2 else [0]), *parts, 0, 0)[:3]
        total = math.ceil((int(days or 0) * 24 + hours) * 60 + mins + seconds / 60)
    if total < 1:
        raise UserError(f"--slurm time={time} is no time limit; write minutes, H:MM:SS or DAYS-HH:MM:SS, as for sbatch")
    return total


def _setting(word: str) -> tuple[str, Any]:
    name, has_value, value = word.partition("=")
    name = name.lstrip("-").replace("-", "_")
    if name in SET_ELSEWHERE:
        raise UserError(f"--slurm {word}: {name} is not set here; {SET_ELSEWHERE[name]}")
    if name not in KNOWN:
        near = difflib.get_close_matches(name, (*KNOWN, *SET_ELSEWHERE), n=3, cutoff=0.5)
        raise UserError(
            f"--slurm {word}: no option of sbatch or submitit is called {name!r}"
            f"{'; nearest: ' + ', '.join(near) if near else ''}; write NAME=VALUE, such as partition=gpu time=24:00:00"
        )
    if not value and (has_value or name not in FLAGS):
        raise UserError(f"--slurm {word} has no value; write {name}=VALUE")
    if "\n" in value:
        raise UserError(f"--slurm {name}: a value is one line")
    return name, value or True


def _number(name: str, value: Any) -> int:
    if not re.fullmatch(r"[1-9]\d*", str(value)):
        raise UserError(f"--slurm {name}={value} must be a whole number from 1 on")
    return int(value)
