"""One process at a time in a folder, by a file that its holder touches."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from transm3e.errors import UserError
from transm3e.runs import lock as folder_lock
from transm3e.runs.lock import InUse, Owner, hold, holder

HOLD = """
import sys, time
from pathlib import Path
from transm3e.runs import lock as folder_lock
folder_lock.BEAT_S = 0.05
with folder_lock.hold(Path(sys.argv[1]), "0,1"):
    print("held", flush=True)
    time.sleep(60)
"""


def held(lock):
    command = [sys.executable, "-c", HOLD, str(lock)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n", process.stderr.read()
    return process


@pytest.fixture
def lock(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_lock, "SILENCE_S", 1.0)
    return tmp_path / ".lock.owner"


def test_a_second_process_is_refused_until_the_first_is_killed(lock):
    process = held(lock)
    assert (holder(lock).process.split()[1], holder(lock).note) == (str(process.pid), "0,1")
    says = rf"is in use by process {process.pid} on \S+; wait for it.* certainly ended, delete \S+\.lock\.owner"
    with pytest.raises(InUse, match=says), hold(lock):
        pass
    process.kill()
    process.communicate()
    assert holder(lock) is None
    with hold(lock):
        assert json.loads(lock.read_text())["pid"] == os.getpid()
        assert holder(lock).process.startswith(f"process {os.getpid()} on ")
    assert (holder(lock), lock.exists()) == (None, False)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="start times are read from /proc")
def test_another_process_with_the_number_of_a_dead_owner_is_not_taken_for_it(lock):
    of_parent = {"place": folder_lock._place(), "pid": os.getppid()}
    lock.write_text(
        json.dumps({**vars(Owner("a process")), **of_parent, "started": folder_lock._started(os.getppid())})
    )
    assert holder(lock).process == "a process"
    lock.write_text(json.dumps({**vars(Owner("a process")), **of_parent, "started": "1"}))
    assert holder(lock) is None
    begun = time.monotonic()
    with hold(lock):
        assert time.monotonic() - begun < folder_lock.SILENCE_S


def elsewhere(lock):
    lock.write_text(json.dumps({**vars(Owner.of_this_process("")), "process": "process 7 on n3", "place": "n3"}))


def test_a_process_of_another_host_lives_as_long_as_it_sends_heartbeats(lock):
    elsewhere(lock)
    over = threading.Event()

    def beat():
        while not over.wait(0.2):
            os.utime(lock)

    thread = threading.Thread(target=beat)
    thread.start()
    with pytest.raises(InUse, match="is in use by process 7 on n3; wait"), hold(lock):
        pass
    assert holder(lock).process == "process 7 on n3"
    over.set()
    thread.join()
    begun = time.monotonic()
    with hold(lock):
        assert time.monotonic() - begun >= folder_lock.SILENCE_S
    assert not lock.exists()


@pytest.mark.parametrize("text", ["", "{", '{"process": 1}', "[]"])
def test_a_lock_file_that_was_never_written_blocks_nobody_for_ever(lock, text, monkeypatch):
    monkeypatch.setattr(folder_lock, "SILENCE_S", 0.2)
    lock.write_text(text)
    with hold(lock):
        pass


def test_of_many_that_find_a_dead_owner_one_takes_over(lock):
    for _ in range(10):
        lock.write_text(json.dumps(vars(Owner.of_this_process(""))))  # nobody's any more

        def take(_):
            owner = Owner.of_this_process("")
            folder_lock._held_here.add(owner.token)
            try:
                folder_lock._take(lock, owner)
            except InUse:
                return 0
            return 1

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(take, range(4))) == 1


def test_a_suspended_process_that_has_lost_the_folder_ends_without_writing_to_it(lock):
    process = held(lock)
    process.send_signal(signal.SIGSTOP)
    elsewhere(lock)
    there = lock.read_text()
    process.send_signal(signal.SIGCONT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "is in use by process 7 on n3" in said
    assert "ended without saving" in said
    assert lock.read_text() == there


def test_a_lock_file_that_was_deleted_is_made_again(lock, monkeypatch):
    monkeypatch.setattr(folder_lock, "BEAT_S", 0.05)
    with hold(lock):
        lock.unlink()
        end = time.monotonic() + 5
        while not lock.exists() and time.monotonic() < end:
            time.sleep(0.02)
        assert holder(lock)


def test_a_lock_that_cannot_be_written_is_a_users_error(tmp_path):
    with pytest.raises(
        UserError, match=r"cannot write to .*gone: No such file or directory; choose another OUTPUT_DIR"
    ):
        with hold(Path(tmp_path, "gone", ".lock")):
            pass
