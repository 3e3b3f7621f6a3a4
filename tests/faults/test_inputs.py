"""Every bad input ends in one line that says what, where and what to do, and in status 2."""

from __future__ import annotations

import pytest

from tests.faults.inputs import BAD_INPUTS, call, one_line
from tests.run_net import REPO
from transm3e.cli import USER_MISTAKE


@pytest.mark.parametrize("bad", BAD_INPUTS, ids=lambda bad: bad.what)
def test_one_line_and_status_2(bad, noise_data, tmp_path):
    bad.prepare(tmp_path)
    status, err = call(bad, tmp_path)
    assert status == USER_MISTAKE, err
    said = one_line(err)
    assert all(part in said for part in bad.says), said
    assert not (REPO / "trapped").exists()
    # Nothing is trained before a mistake is told, unless only decoding shows it, and no folder is left.
    assert bad.what.startswith("a test video") or not list(tmp_path.glob("runs/*"))
