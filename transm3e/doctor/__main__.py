"""The command line of the doctor."""

from __future__ import annotations

import sys

from transm3e.doctor.gpus import check_devices
from transm3e.doctor.libraries import check, decoders, devices, load, versions
from transm3e.doctor.trying import try_all


def main() -> int:
    """Print versions, what was tried, devices, decoders and problems; 0 if there is no problem, else 1."""
    _show("versions", versions())
    # Before anything here touches a GPU, which may admit one process only.
    print("tried (each at most a minute)", flush=True)
    failed = []
    for trial in try_all():
        print(f"  {trial.name:<18} {trial.shown}", flush=True)
        failed += [trial] if trial.failed else []
    of_gpus = [] if isinstance(load("torch"), Exception) else check_devices()
    of_libraries = check()
    problems = [*of_gpus, *of_libraries]
    problems += [trial.problem for trial in failed if not trial.follows(bool(of_libraries), bool(of_gpus))]
    _show("devices", devices())
    _show("decoders", decoders())
    print("problems" if problems else "no problems")
    for problem in problems:
        print(f"  {problem.what}\n    -> {problem.remedy}")
    return 1 if problems else 0


def _show(title: str, facts: list[tuple[str, str]]) -> None:
    print(title)
    for name, value in facts:
        print(f"  {name:<12} {value}")


if __name__ == "__main__":
    sys.exit(main())
