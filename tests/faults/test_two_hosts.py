"""Training over two hosts: the network between them goes down in the middle, both say so, and the job ends the same."""

from __future__ import annotations

import subprocess
import time

import pytest

from tests.clips import make_noise_data
from tests.faults.kills import differing, printed
from tests.faults.two_hosts import two_hosts, why_not
from tests.run_net import REPO, command, quiet_env
from tests.two_processes import finish, start_shards, wait_for_steps, words

EPOCHS = 6
REPORT_S = 40.0  # within which both sides have to report; DIST_TIMEOUT is SILENT_S
SILENT_S = 6.0


@pytest.fixture
def hosts():
    reason = why_not()
    if reason:
        pytest.skip(f"two hosts cannot be built on this machine: {reason}")
    with two_hosts() as made:
        yield made


def start(hosts, out, options):
    """torchrun and the run on both hosts."""
    agents = []
    for number, host in enumerate(hosts.hosts):
        with printed(out, number).open("wb") as said:
            line = [*host.agent(hosts.hosts[0]), *command(*options)[1:]]
            env = quiet_env() | {"GLOO_SOCKET_IFNAME": host.card}
            agents.append(subprocess.Popen(line, cwd=REPO, env=env, stdout=said, stderr=said, start_new_session=True))
    return agents


def wait_until_both_report(out, words_of_loss):
    end = time.monotonic() + REPORT_S
    missing = True
    while missing and time.monotonic() < end:
        said = [printed(out, number).read_text(errors="replace") for number in (0, 1)]
        missing = [text for text in said if not any(word in text for word in words_of_loss)]
        time.sleep(0.1)
    assert not missing, missing


def test_a_cut_link_is_reported_on_both_sides_and_the_restarted_job_ends_with_the_same_weights(hosts, tmp_path):
    data = make_noise_data(tmp_path / "data")
    whole, out = tmp_path / "whole", tmp_path / "cut"
    # Two processes compute the same whatever lies between them.
    status, said = finish(start_shards(*words(data, whole, EPOCHS)))
    assert status == [0, 0], said
    options = (*words(data, out, EPOCHS), "TRAIN.CHECKPOINT_STEPS", 1, "DIST_TIMEOUT", SILENT_S)
    agents = start(hosts, out, options)
    try:
        wait_for_steps(out, 3)
        hosts.cut()
        wait_until_both_report(out, ("has not been heard of for", "no contact for"))
    finally:
        # The second host's torchrun waits minutes for the first one's store, and hears no signal meanwhile.
        for agent in agents:
            agent.kill()
            agent.wait()
    assert "rank 1 (process " in printed(out, 0).read_text()
    assert "rank 0 (process " in printed(out, 1).read_text()
    assert not (out / "results.json").exists()
    hosts.mend()
    agents = start(hosts, out, options)
    assert [agent.wait(timeout=120) for agent in agents] == [0, 0], printed(out, 0).read_text()
    assert "resuming from" in (out / "stdout.log").read_text()
    assert differing(whole, out) == []
