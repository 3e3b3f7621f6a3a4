"""Loading processes come from a server without threads, whatever happens to it, to them, or to the one they load for."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from transm3e.data import forking
from transm3e.data.types import ClipSpec, FailedClip, Sample
from transm3e.data.workers import SlotPlan, Task, WorkerPool
from transm3e.errors import UserError

NO_SLOTS = SlotPlan({}, 1, 1)


class Numbers:
    """Item n is n of an array, told as a failed clip's row."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def load(self, key: tuple[int, int], clips: dict[str, torch.Tensor]) -> Sample | FailedClip:
        return FailedClip(int(self.values[key[1]]), "", "")

    def failed(self, key: tuple[int, int], reason: str) -> FailedClip:
        return FailedClip(-1, "", reason)


def load(pool: WorkerPool, count: int) -> list[int]:
    for number in range(count):
        pool.submit(Task(number, (0, number), 0))
    return [result.row for _, result in sorted((pool.result() for _ in range(count)), key=lambda pair: pair[0])]


def gone(pid: int, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while (
        time.monotonic() < end and Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes()
    ):
        time.sleep(0.02)
    return time.monotonic() < end


class ParentsThreads(Numbers):
    def load(self, key: tuple[int, int], clips: dict[str, torch.Tensor]) -> Sample | FailedClip:
        return FailedClip(len(os.listdir(f"/proc/{os.getppid()}/task")), "", "")


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_only_the_single_threaded_server_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("forked a process with threads"))
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    with closing(WorkerPool(ParentsThreads(np.zeros(1)), NO_SLOTS, 2, 60)) as pool:
        assert load(pool, 4) == [1] * 4
        os.kill(pool.pids[0], signal.SIGKILL)  # another takes its place, with the threads there
        assert load(pool, 4) == [1] * 4


def test_pythons_warning_about_forking_with_threads_is_an_error() -> None:
    says = f"This process (pid={os.getpid()}) is multi-threaded, use of fork() may lead to deadlocks in the child."
    with pytest.raises(DeprecationWarning):
        warnings.warn(says, DeprecationWarning, stacklevel=1)
    warnings.warn("some other", DeprecationWarning, stacklevel=1)


def test_a_server_that_is_killed_is_replaced_and_nothing_is_lost() -> None:
    with closing(WorkerPool(Numbers(np.arange(40)), NO_SLOTS, 2, 60)) as pool:
        assert load(pool, 8) == list(range(8))
        forking.warm_up()._server.kill()
        forking.warm_up()._server.wait()
        os.kill(pool.pids[0], signal.SIGKILL)
        assert load(pool, 40) == list(range(40))


def test_signals_to_the_whole_group_do_not_reach_the_server() -> None:
    forking.restart()
    server = forking.warm_up()._server
    for number in forking.CLIENT_SIGNALS:
        os.kill(server.pid, number)  # while it imports
    with closing(WorkerPool(Numbers(np.arange(8)), NO_SLOTS, 1, 60)) as pool:
        assert load(pool, 8) == list(range(8))
        pids = pool.pids
        for number in forking.CLIENT_SIGNALS:
            os.kill(server.pid, number)
            if number != signal.SIGTERM:  # which ends them, see test_loader.py
                os.kill(pids[0], number)
        assert load(pool, 8) == list(range(8))
        assert (pool.pids, server.poll()) == (pids, None)


ORPHANS = """
import sys
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[1])
from transm3e.data import forking
from transm3e.data.workers import SlotPlan, Task, WorkerPool
from transm3e.data.types import FailedClip

class Here:  # of the script itself
    def load(self, key, clips):
        return FailedClip(7, "", "")

if __name__ == "__main__":
    pool = WorkerPool(Here(), SlotPlan({}, 1, 1), 2, 60)
    pool.submit(Task(0, (0, 0), 0))
    assert pool.result()[1].row == 7
    print(forking.warm_up()._server.pid, *pool.pids, flush=True)
    input()
"""


def test_workers_end_with_their_client_and_know_the_classes_of_its_script(tmp_path: Path) -> None:
    script = tmp_path / "own.py"
    script.write_text(ORPHANS, encoding="utf-8")
    command = [sys.executable, str(script), str(Path(__file__).parents[2])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        pids = [int(word) for word in process.stdout.readline().split()]
        assert len(pids) == 3
        process.kill()
    assert all(gone(pid) for pid in pids)


def test_items_that_cannot_be_pickled_are_a_user_error() -> None:
    class Local(Numbers):
        pass

    with pytest.raises(UserError, match=r"cannot be sent to data-loading workers .*Local.* DATA_LOADER\.NUM_WORKERS 0"):
        WorkerPool(Local(np.arange(8)), NO_SLOTS, 1, 60)


class Unreadable(Numbers):
    def __setstate__(self, state: dict) -> None:
        raise ImportError("no such module")


def test_items_that_cannot_be_imported_end_the_run_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    forking.restart()  # with the standard error of this test
    with closing(WorkerPool(Unreadable(np.arange(8)), NO_SLOTS, 1, 60)) as pool:
        with pytest.raises(UserError, match=r"for the reason above.* must be defined in a module"):
            load(pool, 1)
    assert capfd.readouterr().err.count("Traceback") == 1


class Talks(Numbers):
    def load(self, key: tuple[int, int], clips: dict[str, torch.Tensor]) -> Sample | FailedClip:
        logging.getLogger("transm3e.data.decode").warning("seen: %s", "HDR")
        logging.getLogger("transm3e.data.decode").debug("not asked for")
        return super().load(key, clips)


def test_records_of_workers_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with closing(WorkerPool(Talks(np.arange(9)), NO_SLOTS, 2, 60)) as pool, caplog.at_level(logging.INFO):
        assert load(pool, 9) == list(range(9))
    assert [(record.name, record.getMessage()) for record in caplog.records] == [("transm3e.data.decode", "seen: HDR")]


def sent(*_: object) -> None:
    """Something to send."""


def test_arrays_are_shared_without_copies() -> None:
    table = {
        "names": np.array(["a/é.mp4", ""]),
        "empty": np.empty((0, 3)),
        "turned": np.arange(6.0).reshape(2, 3).T,
        "part": np.arange(10)[::3],
        "bytes": np.arange(3, dtype=np.uint8),
    }
    file = forking.pack(sent, table)
    function, (first,) = forking._unpack(file)
    _, (second,) = forking._unpack(file)
    os.close(file)
    assert function is sent
    for name, values in table.items():
        assert first[name].dtype == values.dtype
        assert np.array_equal(first[name], values)
    first["bytes"][:] = 9  # a process of its own may write; the others do not see it
    assert second["bytes"].tolist() == [0, 1, 2]


def test_without_memfd_memory_is_shared_by_a_file_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forking, "_memory_file", lambda: None)
    plan = SlotPlan({"rgb": ClipSpec((3, 2, 4, 4)), "skeleton": ClipSpec((3, 2, 17, 1), torch.float32, False)}, 2, 3)
    files = plan.files()
    mine, theirs = plan.slots(files), plan.slots(files)
    for file in files:
        os.close(file)
    mine[1]["rgb"].fill_(7)
    mine[2]["skeleton"].fill_(0.5)
    assert [slot["rgb"].sum().item() for slot in theirs] == [0, 7 * 2 * 3 * 2 * 4 * 4, 0]
    assert theirs[2]["skeleton"].mean().item() == 0.5
    monkeypatch.setattr(os, "posix_fallocate", no_room)
    with pytest.raises(UserError, match=r"cannot allocate 576 bytes .*\(No space left on device\).*TMPDIR"):
        plan.files()


def no_room(*_: int) -> None:
    raise OSError(28, "No space left on device")
