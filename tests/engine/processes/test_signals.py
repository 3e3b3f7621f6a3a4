"""Ctrl-C and SIGTERM become a request; the second Ctrl-C interrupts."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from transm3e.engine.processes.signals import IF_NOT_IGNORED, SIGNALS, forward_signals, stop_request


@pytest.fixture(autouse=True)
def _none_is_ignored():
    """As nohup would have it."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in IF_NOT_IGNORED}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [*SIGNALS, *IF_NOT_IGNORED])
def test_a_signal_is_remembered(number):
    with stop_request() as request:
        assert request.signal_number == 0
        send(number)
        assert request.signal_number == number


def test_ctrl_c_twice_interrupts_and_sigterm_waits_whatever_follows():
    with stop_request() as request:
        send(signal.SIGTERM)
        send(signal.SIGTERM)
        # torch sends SIGINT to processes whose parent has ended.
        send(signal.SIGINT)
        assert request.signal_number == signal.SIGTERM
    with stop_request() as request:
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_signals_are_passed_on_to_processes():
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(60)"], stdout=subprocess.PIPE
    )
    child.stdout.readline()
    with forward_signals(lambda: [child.pid]):
        send(signal.SIGINT)
        assert child.poll() is None
        send(signal.SIGTERM)
        assert child.wait(timeout=30) == -signal.SIGTERM


def test_the_old_handlers_come_back_also_after_an_error():
    before = [signal.getsignal(number) for number in SIGNALS]
    with stop_request():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before
    with pytest.raises(ZeroDivisionError), stop_request():
        raise ZeroDivisionError
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_another_thread_runs_without_catching():
    seen = []

    def work():
        with stop_request() as request:
            seen.append(request.signal_number)

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [0]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_that_the_parent_has_had_ignored_stays_ignored():
    before = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    try:
        with stop_request() as request:
            send(signal.SIGUSR2)
            assert request.signal_number == 0
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_a_request_within_another_one_is_the_same():
    with stop_request() as outer:
        with stop_request() as inner:
            send(signal.SIGHUP)
        assert inner is outer
        assert outer.exit_status == 128 + signal.SIGHUP
