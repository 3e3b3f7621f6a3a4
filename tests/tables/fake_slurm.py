"""A fake of SLURM's commands: one program by the names of all, which keeps its jobs in a folder.

Tasks of an array run after those of --dependency, N of --array=...%N at a time, and not while there is a file "hold";
"refuse" makes sbatch fail, and "TASK.requeue" puts a task that ends back into the queue.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

COMMANDS = ("sbatch", "squeue", "sacct", "scontrol", "srun")
PROGRAM = r"""
import json, os, re, shlex, subprocess, sys, time
from pathlib import Path

name, words, place = Path(sys.argv[0]).name, sys.argv[1:], Path(os.environ["SLURM_STAND_IN"])
OVER = ("COMPLETED", "FAILED")


def state(task, new=None):
    file = place / f"{task}.state"
    if new:
        file.with_suffix(".new").write_text(new)
        file.with_suffix(".new").rename(file)
    return file.read_text()


def tasks():
    return sorted(file.stem for file in place.glob("*.state"))


def sbatch(script):
    if (place / "refuse").exists():
        sys.exit("sbatch: error: Batch job submission failed: Invalid account or account/partition combination")
    found = re.findall(r"^#SBATCH --([\w-]+)(?:=(.*))?$", Path(script).read_text(), re.MULTILINE)
    flags = {name: " ".join(shlex.split(value)) for name, value in found}
    number = 1000 + len(list(place.glob("*.json")))
    (place / f"{number}.json").write_text(json.dumps(flags))
    count, at_once = re.fullmatch(r"0-(\d+)%(\d+)", flags.get("array", "0-0%1")).groups()
    mine = [f"{number}_{i}" for i in range(int(count) + 1)] if "array" in flags else [str(number)]
    for task in mine:
        state(task, "PENDING")
    command = [sys.executable, __file__, "slurmd", script, at_once, flags.get("dependency", "afterany:"), *mine]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    daemon = subprocess.Popen(command, start_new_session=True, **quiet)
    (place / f"{number}.pid").write_text(str(daemon.pid))
    print("Submitted batch job", number)


def slurmd(script, at_once, dependency, *mine):
    after = [task for task in dependency.split(":")[1:] if task]
    while (place / "hold").exists() or any(state(task) not in OVER for task in after):
        time.sleep(0.02)
    running = {}
    while running or any(state(task) == "PENDING" for task in mine):
        for task in mine:
            if state(task) == "PENDING" and len(running) < int(at_once):
                running[task] = run(script, task)
        for task, process in list(running.items()):
            if (status := process.poll()) is not None:
                del running[task]
                requeue = place / f"{task}.requeue"
                state(task, "PENDING" if requeue.exists() else "FAILED" if status else "COMPLETED")
                requeue.unlink(missing_ok=True)
        time.sleep(0.02)


def run(script, task):
    state(task, "RUNNING")
    array, _, index = task.partition("_")
    variables = {"SLURM_JOB_ID": array}
    if index:
        variables |= {"SLURM_ARRAY_JOB_ID": array, "SLURM_ARRAY_TASK_ID": index}
    return subprocess.Popen(["bash", script], env={**os.environ, **variables})


def srun(*words):
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID", ""), os.environ.get("SLURM_ARRAY_TASK_ID", "")
    output = words[words.index("--output") + 1]
    for sign, value in (("%A", array), ("%a", index), ("%j", os.environ["SLURM_JOB_ID"]), ("%t", "0")):
        output = output.replace(sign, value)
    command = words[words.index("--output") + 2 :]
    while command[0].startswith("--"):
        command = command[1:]
    with open(output, "a") as log:
        status = subprocess.call(command, stdout=log, stderr=log)
        if status:
            print(f"srun: error: node1: task 0: Exited with exit code {status}", file=log)
    sys.exit(status)


def squeue(*words):
    for task in tasks():
        if state(task) not in OVER:
            comment = json.loads((place / f"{task.partition('_')[0]}.json").read_text()).get("comment", "(null)")
            print(f"{task}|{state(task)}|Priority|{comment}")


def sacct(*words):
    print(state(words[-1].partition("=")[2]))


def scontrol(verb, task):
    assert verb == "requeue"
    (place / f"{task}.requeue").write_text("")


if words and words[0] == "slurmd":
    slurmd(*words[1:])
else:
    {"sbatch": sbatch, "squeue": squeue, "sacct": sacct, "scontrol": scontrol, "srun": srun}[name](*words)
"""


def install(folder: Path) -> Path:
    """Put the commands into a folder for PATH; returns it."""
    folder.mkdir()
    for name in COMMANDS:
        (folder / name).write_text(f"#!{sys.executable} -S\n{PROGRAM}")
        (folder / name).chmod(0o755)
    return folder


def submitted(place: Path) -> dict[int, dict[str, str]]:
    """Options of each batch script, by the job's number."""
    return {int(file.stem): json.loads(file.read_text()) for file in sorted(place.glob("*.json"))}


def shut_down(place: Path) -> None:
    """End what still waits or runs."""
    for file in place.glob("*.pid"):
        try:
            os.killpg(int(file.read_text()), signal.SIGKILL)
        except ProcessLookupError:
            continue
