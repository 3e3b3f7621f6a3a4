"""What tests of the command-line tools share."""

from __future__ import annotations

import pytest

from tests.run_net import run_net_here


@pytest.fixture
def run_net(repo, monkeypatch, tmp_path):
    """Calls main() with words in place of sys.argv; returns (status, stdout, stderr)."""
    monkeypatch.chdir(repo)

    def call(*words):
        done = run_net_here(*words, "RUNS_DIR", tmp_path / "runs", check=False)
        return done.returncode, done.stdout, done.stderr

    return call
