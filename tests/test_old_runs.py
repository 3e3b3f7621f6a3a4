"""What a refactoring must not change: what is trained, and what a run folder that is there already says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.losses import ASSETS, LOSSES, losses, make_pictures, run

# Made by the commit before the packages were moved (d453b46), with tests.losses.run on the same pictures.
OLD_RUN = ASSETS / "old_run"
TESTED = "2.14"

TOLERANCE = {"loss_mctkd": 2e-2, "grad_norm": 1e-3}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("old") / "losses")


@pytest.mark.skipif(
    not torch.__version__.startswith(TESTED),
    reason=f"versions of torch draw other random numbers; these are of {TESTED}",
)
def test_both_stages_train_as_they_did(data, tmp_path):
    """Without vector instructions losses move by 1e-6, MCTKD's small differences by 3e-3; another draw is 1e-3 and 0.5."""
    kept, found = json.loads(LOSSES.read_text()), losses(data, tmp_path)
    assert found.keys() == kept.keys()
    for stage, steps in kept.items():
        for number, (now, then) in enumerate(zip(found[stage], steps, strict=True)):
            expected = {key: pytest.approx(value, rel=TOLERANCE.get(key, 1e-4)) for key, value in then.items()}
            assert now == expected, f"{stage}, step {number}"


def test_an_old_folder_is_found_and_scored_anew_with_the_same_figures(data, tmp_path):
    (old,) = OLD_RUN.iterdir()
    here = shutil.copytree(old, tmp_path / old.name)
    assert f"done already, in {here} " in run(data, tmp_path).stderr
    (here / "results.json").unlink()
    shutil.rmtree(here / "predictions")
    run(data, tmp_path)
    assert list(tmp_path.iterdir()) == [here]  # no stage 1
    assert "train_" not in (here / "stdout.log").read_text()
    kept, found = (json.loads((folder / "results.json").read_text()) for folder in (old, here))
    for place in ("checkpoint", "data"):  # where it was made
        kept["run"].pop(place), found["run"].pop(place)
    # Splits have gained keys since; all that were there are as they were.
    for split, now in found["splits"].items():
        assert {*now} - {*kept["splits"][split]} == {"threshold", "precision", "recall", "f1", "macro_f1", "ece"}
        found["splits"][split] = {key: now[key] for key in kept["splits"][split]}
    assert found == kept
    for file in (old / "predictions").iterdir():
        kept, found = np.load(file), np.load(here / "predictions" / file.name)
        assert kept.files == found.files
        np.testing.assert_allclose(found["scores"], kept["scores"], rtol=1e-5)
