"""What all tests share: the folder of real data, small configs, and one thread for tiny tensors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fvcore.common.config import CfgNode

from tests.clips import make_noise_data
from transm3e.config import get_cfg
from transm3e.prepare.musclesynth.activities import CORE
from transm3e.prepare.musclesynth.generate import generate
from transm3e.prepare.musclesynth.plan import SIZES, SetSize

REPO = Path(__file__).resolve().parents[1]
SHARED = REPO.parent / "shared"


# Files that take longest begin first, so that processes that share the files (make test) end together.
LONGEST = (
    *("test_two_processes", "test_every_row", "test_end_to_end", "test_make_table", "test_two_hosts"),
    *("test_interrupted", "test_mvit_torchvision", "test_mixed_precision", "test_musclesynth"),
)
# Clips of few_clips: for training, and in every other split.
IN_TRAIN, PER_SPLIT = 64, 8


def pytest_collection_modifyitems(items):
    """Put the longest files first."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def repo() -> Path:
    """The checkout."""
    return REPO


@pytest.fixture
def shared() -> Path:
    """The folder of real data beside the checkout; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"no real data at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def few_clips(tmp_path_factory) -> Path:
    """A few clips of MuscleSynth, drawn once: for two steps of 32."""
    root = tmp_path_factory.mktemp("few")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "few", SetSize(IN_TRAIN, PER_SPLIT, CORE))
        generate(root, "few", workers=1)
    return root


@pytest.fixture
def tiny_cfg() -> CfgNode:
    """TransM3E stage 1 at a size for float64 and gradients: 3 blocks, 4 frames of 32x32."""
    cfg = get_cfg()
    cfg.NUM_GPUS = 0
    cfg.DATA.NUM_FRAMES, cfg.DATA.SAMPLING_RATE = 4, 2
    cfg.DATA.TRAIN_CROP_SIZE = cfg.DATA.TEST_CROP_SIZE = 32
    cfg.MVIT.EMBED_DIM, cfg.MVIT.NUM_HEADS, cfg.MVIT.DEPTH, cfg.MVIT.MLP_RATIO = 16, 1, 3, 2.0
    cfg.MVIT.DIM_MUL = cfg.MVIT.HEAD_MUL = [[1, 2.0], [2, 2.0]]
    cfg.MVIT.POOL_Q_STRIDE = [[0, 1, 1, 1], [1, 1, 2, 2], [2, 1, 1, 1]]
    cfg.MVIT.POOL_KV_STRIDE_ADAPTIVE = [1, 2, 2]
    return cfg


@pytest.fixture
def student_cfg(tiny_cfg: CfgNode) -> CfgNode:
    """The same as a student: receivers and MCTF."""
    cfg = tiny_cfg.clone()
    cfg.TASK = "distill"
    cfg.TRANSM3E.RECEIVERS, cfg.TRANSM3E.FUSION = True, "mctf"
    cfg.AUG.NUM_SAMPLE = 2
    return cfg


@pytest.fixture
def noise_data(tmp_path) -> Path:
    """As make_noise_data."""
    return make_noise_data(tmp_path / "data")
