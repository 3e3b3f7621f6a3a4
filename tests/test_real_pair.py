"""One step of training in every modality, on a real clip with its real skeleton and the flow made of it."""

import shutil
from pathlib import Path

import pytest
import torch

from transm3e.config import get_cfg
from transm3e.data import build_loader
from transm3e.data.annotations import Clip, write_clip_table
from transm3e.modalities import MODALITIES
from transm3e.prepare.flow.extract import FlowSettings, extract_table
from transm3e.tasks import build_task

DATA = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
VIDEO, SKELETON = "v_ApplyEyeMakeup_g01_c01.avi", "v_ApplyEyeMakeup_g01_c01_coco17.npz"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="needs the real data beside the project (../shared/data)")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pair")
    shutil.copy(DATA / "clips" / VIDEO, root)
    shutil.copy(DATA / "skeleton" / SKELETON, root)
    write_clip_table(root / "clips.csv", [Clip(VIDEO, "train", "apply eye makeup", (3, 5), SKELETON)])
    [result] = extract_table(root, FlowSettings(preset="fast", short_side=64), workers=1, update=True)
    assert result.status == "made"
    return root


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_step_in_each_modality(folder: Path, modality: str) -> None:
    cfg = get_cfg()
    cfg.DATA.PATH_TO_DATA_DIR, cfg.DATA.MODALITY = str(folder), modality
    cfg.DATA.NUM_FRAMES, cfg.DATA.TRAIN_CROP_SIZE, cfg.TRAIN.BATCH_SIZE = 4, 64, 1
    cfg.MODEL.MODEL_NAME = "STGCN" if modality.startswith("skeleton") else "MViT"
    cfg.MVIT.DEPTH, cfg.MVIT.EMBED_DIM, cfg.LOG_MODEL_INFO = 2, 32, False
    cfg.MVIT.DIM_MUL, cfg.MVIT.HEAD_MUL, cfg.MVIT.POOL_Q_STRIDE = [[1, 2.0]], [[1, 2.0]], [[1, 1, 2, 2]]
    torch.manual_seed(0)
    task = build_task(cfg, torch.device("cpu"))
    batch = next(build_loader(cfg, "train").epoch(0))
    assert not batch.failed
    seen = task.inputs(batch.clips)[modality]
    assert seen.shape[1] == (MODALITIES[modality].channels or 3)
    assert seen.isfinite().all()
    assert seen.std() > 0.001, "nothing is seen or nothing moves"
    optimizer = torch.optim.SGD(task.model.parameters(), 0.1)
    losses = []
    for _ in range(2):
        loss = task(batch)["loss"]
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[1] < losses[0]
