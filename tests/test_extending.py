"""Research code needs no fork: one file of a user's own adds a model with its keys, a distiller and a loss."""

import sys
from pathlib import Path

import pytest
import torch

from transm3e.cli import parse_args
from transm3e.config import load_cfg, schema
from transm3e.data.types import Batch
from transm3e.distill import DISTILLERS
from transm3e.errors import UserError
from transm3e.joints import LAYOUTS
from transm3e.losses import LOSSES
from transm3e.models import MODELS, build_model
from transm3e.runs.plan import plan
from transm3e.tasks import build_distill, build_task

OWN = '''
import torch
from my_layers import mean_pose
from transm3e.config.schema import COUNT, NETWORK, group, key
from transm3e.distill import DISTILLERS, Distiller
from transm3e.losses import LOSSES, Loss
from transm3e.models import MODELS, Model, ModelOutput

group("MEANPOSE", "the mean pose", role=NETWORK, of_model=True)
key("MEANPOSE.WIDTH", 8, "Width of the hidden layer.", COUNT)


@MODELS.register("MeanPose")
class MeanPose(Model):
    reads = ("skeleton",)
    config_keys = ("MEANPOSE.", "SKELETON.")

    def __init__(self, joints, width, classes):
        super().__init__()
        layers = torch.nn.Linear(3 * joints, width), torch.nn.ReLU(), torch.nn.Linear(width, classes)
        self.net = torch.nn.Sequential(*layers)

    @classmethod
    def from_cfg(cls, cfg):
        return cls(17, cfg.MEANPOSE.WIDTH, cfg.MODEL.NUM_CLASSES)

    def forward(self, clips):
        return ModelOutput(self.net(mean_pose(clips["skeleton"])))


@DISTILLERS.register("l2")
class L2(Distiller):
    """The student's logits become the teacher's."""

    @classmethod
    def from_cfg(cls, cfg):
        return cls()

    def __call__(self, student, teacher):
        return {"loss_l2": (student.logits - teacher.logits).square().mean()}


LOSSES.register("square")(Loss(lambda logits, labels: (logits.sigmoid() - labels).square().mean(), torch.sigmoid))
'''
POSES = """
IMPORTS: [my_research.py]
NUM_GPUS: 0
MODEL: {MODEL_NAME: MeanPose, LOSS_FUNC: square}
DATA: {MODALITY: skeleton, NUM_FRAMES: 4}
MEANPOSE: {WIDTH: 16}
"""
DISTILLED = """
_BASE_: small.yaml
IMPORTS: [my_research.py]
TASK: distill
INIT: {TEACHER_FROM: teacher.pyth}
DISTILL: {METHOD: l2, MODALITY: rgb, PAIR_CASE: 1}
"""
SMALL = """
NUM_GPUS: 0
MODEL: {MODEL_NAME: MViT}
DATA: {NUM_FRAMES: 4, TRAIN_CROP_SIZE: 32, TEST_CROP_SIZE: 32}
MVIT: {EMBED_DIM: 16, DEPTH: 2, DIM_MUL: [], HEAD_MUL: [], POOL_Q_STRIDE: [], POOL_KV_STRIDE_ADAPTIVE: [1, 2, 2]}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with the user's files; what they register is forgotten afterwards."""
    (tmp_path / "my_research.py").write_text(OWN)
    (tmp_path / "my_layers.py").write_text("def mean_pose(x):\n    return x.mean((2, 4)).flatten(1)\n")
    for name, text in (("poses", POSES), ("distilled", DISTILLED), ("small", SMALL)):
        (tmp_path / f"{name}.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    tables = [schema.KEYS, schema.GROUPS, *(registry._entries for registry in (MODELS, DISTILLERS, LOSSES))]
    before = [dict(table) for table in tables]
    monkeypatch.setattr("sys.path", [*sys.path])
    yield tmp_path
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)


def learns(task, clips):
    """Whether a step of the optimiser on random clips changes all weights."""
    torch.manual_seed(0)
    rows = torch.arange(2)
    batch = Batch(clips, (torch.rand(2, 20) < 0.3).float(), rows, torch.zeros(2, dtype=torch.long), samples=1)
    before = [p.detach().clone() for p in task.model.parameters()]
    optimiser = torch.optim.SGD(task.model.parameters(), lr=1.0)
    task.train()
    out = task(batch)
    out["loss"].backward()
    optimiser.step()
    changed = [not torch.equal(old, new) for old, new in zip(before, task.model.parameters(), strict=True)]
    return out, sum(changed) / len(changed)


def test_a_skeleton_model_and_a_loss_of_ones_own_train():
    cfg = load_cfg("poses.yaml")
    assert (cfg.IMPORTS, cfg.MEANPOSE.WIDTH) == (["my_research.py"], 16)
    task = build_task(cfg, torch.device("cpu"))
    out, changed = learns(task, {"skeleton": torch.rand(2, 3, 4, len(LAYOUTS["coco17"].names), 2)})
    assert (out["loss"].item() > 0, changed) == (True, 1.0)


def test_a_distiller_of_ones_own_trains():
    cfg = load_cfg("distilled.yaml")
    teacher = cfg.clone()
    teacher.defrost()
    teacher.RNG_SEED = 1
    task = build_distill(cfg, build_model(cfg), build_model(teacher))
    out, changed = learns(task, {"rgb": torch.randint(0, 256, (2, 3, 4, 32, 32), dtype=torch.uint8)})
    assert out["loss_l2"].item() > 0
    assert changed > 0.9


def test_what_is_wrong_is_refused_by_name():
    with pytest.raises(UserError, match=r"^DATA\.MODALITY is rgb, but MODEL\.MODEL_NAME MeanPose reads skeleton;"):
        load_cfg("poses.yaml", ["DATA.MODALITY", "rgb"])
    with pytest.raises(UserError, match=r"^MEANPOSE\.WIDTH is 0; it must be at least 1$"):
        load_cfg("poses.yaml", ["MEANPOSE.WIDTH", 0])
    with pytest.raises(UserError, match=r"^IMPORTS names absent\.py, which is no Python file that is there"):
        load_cfg("small.yaml", ["IMPORTS", ["absent.py"]])


def test_keys_of_ones_own_take_nobodys_place():
    with pytest.raises(UserError, match=r"^the group of keys MVIT is declared already; choose another name$"):
        schema.group("MVIT", "mine")
    with pytest.raises(UserError, match=r"^the key RNG_SEED is declared already; choose another name$"):
        schema.key("RNG_SEED", 1, "Mine.")
    with pytest.raises(UserError, match=r"^the key MINE\.WIDTH is declared before its group; "):
        schema.key("MINE.WIDTH", 1, "Mine.")


def test_the_command_line_adds_files_to_those_of_the_config():
    Path("other.py").write_text("")
    args = parse_args(["--cfg", "poses.yaml", "--import", "other.py"], None)
    assert load_cfg("poses.yaml", args.opts).IMPORTS == ["my_research.py", "other.py"]


def test_ids_of_other_runs_do_not_depend_on_the_keys_of_ones_own():
    alone = plan(["small.yaml"])[0].id
    wide, narrow = plan(["poses.yaml"])[0].id, plan(["poses.yaml"], ["MEANPOSE.WIDTH", 4])[0].id
    assert plan(["small.yaml"])[0].id == alone
    assert wide != narrow


def test_a_config_from_elsewhere_runs_no_code(monkeypatch, folder):
    monkeypatch.setattr("transm3e.config.load.file_settings", lambda path: [(path, "IMPORTS", ["my_research.py"])])
    with pytest.raises(UserError, match=r"^https://a\.org/poses\.yaml: IMPORTS stands in a URL; .* --import FILE$"):
        load_cfg("https://a.org/poses.yaml")
