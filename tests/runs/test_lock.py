"""One process at a time in a folder: with POSIX locks, without them, and where they hold for one machine only."""

import errno
import fcntl
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
file, number, folder_lock.BEAT_S = Path(sys.argv[1]), int(sys.argv[2]), 0.05

def lockf(*_):
    raise OSError(number, "no locks")

if number:
    folder_lock.fcntl.lockf = lockf
with folder_lock.hold(file, "0,1"):
    print("held", flush=True)
    time.sleep(60)
"""


def held(file, number=0):
    command = [sys.executable, "-c", HOLD, str(file), str(number)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n", process.stderr.read()
    return process


def end(process):
    process.kill()
    process.communicate()


@pytest.fixture
def lock(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_lock, "TRIES", 2)
    monkeypatch.setattr(folder_lock, "SILENCE_S", 1.0)
    return tmp_path / ".lock"


@pytest.fixture
def no_locks(monkeypatch):
    def lockf(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", lockf)


def sign_of(lock):
    return lock.with_name(".lock.owner")


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_no_locks_are_a_warning(lock, monkeypatch, caplog, number):
    def lockf(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "lockf", lockf)
    with hold(lock):
        assert holder(lock).process.startswith(f"process {os.getpid()} on ")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"without locks ({os.strerror(number)})" in caplog.text
    assert (holder(lock), sign_of(lock).exists()) == (None, False)


def test_without_locks_a_second_process_is_refused_until_the_first_is_killed(lock, no_locks):
    process = held(lock, errno.ENOLCK)
    assert (holder(lock).process.split()[1], holder(lock).note) == (str(process.pid), "0,1")
    says = rf"is in use by process {process.pid} on \S+; wait for it.* certainly ended, delete \S+\.lock\.owner"
    with pytest.raises(InUse, match=says), hold(lock):
        pass
    end(process)
    assert holder(lock) is None
    with hold(lock):
        assert json.loads(sign_of(lock).read_text())["pid"] == os.getpid()


def test_a_process_without_locks_and_one_with_them_see_each_other(lock, monkeypatch):
    process = held(lock, errno.ENOLCK)
    with pytest.raises(InUse, match=f"process {process.pid} on "), hold(lock):
        pass
    end(process)
    process = held(lock)
    monkeypatch.setattr(fcntl, "lockf", lambda *_: None)  # of this machine only, as Lustre's -o localflock
    with pytest.raises(InUse, match=f"process {process.pid} on "), hold(lock):
        pass
    end(process)


def elsewhere(lock):
    sign_of(lock).write_text(
        json.dumps({**vars(Owner.of_this_process("")), "process": "process 7 on n3", "place": "n3"})
    )


def test_a_process_of_another_machine_lives_as_long_as_it_says_so(lock, no_locks):
    elsewhere(lock)
    over = threading.Event()

    def beat():
        while not over.wait(0.2):
            os.utime(sign_of(lock))

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
    assert not sign_of(lock).exists()


@pytest.mark.parametrize("text", ["", "{", '{"process": 1}', "[]"])
def test_a_sign_that_was_never_written_blocks_nobody_for_ever(lock, text, monkeypatch):
    monkeypatch.setattr(folder_lock, "SILENCE_S", 0.2)
    sign_of(lock).write_text(text)
    with hold(lock):
        pass


def test_of_many_that_find_a_dead_owner_one_takes_over(lock):
    sign = sign_of(lock)
    for _ in range(10):
        sign.write_text(json.dumps(vars(Owner.of_this_process(""))))  # nobody's any more

        def take(_):
            owner = Owner.of_this_process("")
            folder_lock._held_here.add(owner.token)
            try:
                folder_lock._take(sign, owner)
            except InUse:
                return 0
            return 1

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(take, range(4))) == 1


def test_who_has_lost_the_folder_while_it_stood_still_ends_without_a_word_to_it(lock):
    process = held(lock)
    process.send_signal(signal.SIGSTOP)
    elsewhere(lock)
    there = sign_of(lock).read_text()
    process.send_signal(signal.SIGCONT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "is in use by process 7 on n3" in said
    assert "ended without saving" in said
    assert sign_of(lock).read_text() == there


def test_a_sign_that_somebody_deleted_is_made_again(lock, monkeypatch):
    monkeypatch.setattr(folder_lock, "BEAT_S", 0.05)
    with hold(lock):
        sign_of(lock).unlink()
        end = time.monotonic() + 5
        while not sign_of(lock).exists() and time.monotonic() < end:
            time.sleep(0.02)
        assert holder(lock)


def test_a_lock_that_cannot_be_written_is_a_users_error(tmp_path):
    with pytest.raises(
        UserError, match=r"cannot write to .*gone: No such file or directory; choose another OUTPUT_DIR"
    ):
        with hold(Path(tmp_path, "gone", ".lock")):
            pass
