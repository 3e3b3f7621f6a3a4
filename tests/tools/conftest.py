"""What tests of the command-line tools share."""

from __future__ import annotations

import importlib.util
import sys

import pytest


@pytest.fixture
def run_net(repo, monkeypatch, capsys, tmp_path):
    """Calls main() with words in place of sys.argv; returns (status, stdout, stderr)."""
    spec = importlib.util.spec_from_file_location("run_net", repo / "tools" / "run_net.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "run_net", module)
    spec.loader.exec_module(module)
    monkeypatch.chdir(repo)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["run_net.py", *map(str, words), "RUNS_DIR", str(tmp_path / "runs")])
        try:
            status = module.main()
        except SystemExit as end:
            status = end.code
        out, err = capsys.readouterr()
        return status, out, err

    return call
