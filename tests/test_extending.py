"""Research code needs no fork: the code in CONTRIBUTING.md, as it stands there, adds all of it from a user's own file."""

import re
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import REPO
from tools import show_batch
from transm3e.cli import parse_args
from transm3e.config import load_cfg, schema
from transm3e.data.types import Batch
from transm3e.distill import DISTILLERS
from transm3e.errors import UserError
from transm3e.joints import LAYOUTS
from transm3e.losses import LOSSES
from transm3e.modalities import MODALITIES
from transm3e.models import MODELS, build_model
from transm3e.runs.plan import plan
from transm3e.tables.jobs import Plan
from transm3e.tables.listing import forward_macs
from transm3e.tables.read import read_table
from transm3e.tasks import build_distill, build_task

GUIDE = (REPO / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Adding without a fork")[2]
CODE = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
[TABLE] = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
# Besides: it imports what lies beside it, and reads joints.
MORE = """
import my_layers
from transm3e.modalities import JOINTS

@MODELS.register("MeanJoint")
class MeanJoint(MeanColour):
    reads = (JOINTS,)
"""
SMALL = """
NUM_GPUS: 0
MODEL: {MODEL_NAME: MViT}
DATA: {NUM_FRAMES: 4, TRAIN_CROP_SIZE: 32, TEST_CROP_SIZE: 32}
MVIT: {EMBED_DIM: 16, DEPTH: 2, DIM_MUL: [], HEAD_MUL: [], POOL_Q_STRIDE: [], POOL_KV_STRIDE_ADAPTIVE: [1, 2, 2]}
"""
OWN = """
_BASE_: small.yaml
IMPORTS: [my_research.py]
MODEL: {MODEL_NAME: MeanColour, LOSS_FUNC: power}
DATA: {MODALITY: edges}
"""
POSES = """
_BASE_: own.yaml
MODEL: {MODEL_NAME: MeanJoint}
DATA: {MODALITY: skeleton}
"""
DISTILLED = """
_BASE_: small.yaml
IMPORTS: [my_research.py]
TASK: distill
INIT: {TEACHER_FROM: teacher.pyth}
DISTILL: {METHOD: l2, MODALITY: edges, PAIR_CASE: 1}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with the user's files; what they register is forgotten afterwards."""
    (tmp_path / "my_research.py").write_text("\n".join((*CODE, MORE)))
    (tmp_path / "my_layers.py").write_text("")
    (tmp_path / "my_table.yaml").write_text(TABLE)
    for name, text in (("small", SMALL), ("own", OWN), ("poses", POSES), ("distilled", DISTILLED)):
        (tmp_path / f"{name}.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    tables = [schema.KEYS, schema.GROUPS, *(registry._entries for registry in (MODALITIES, MODELS, DISTILLERS, LOSSES))]
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


def pixels():
    return {"rgb": torch.randint(0, 256, (2, 3, 4, 32, 32), dtype=torch.uint8)}


@pytest.mark.parametrize("code", CODE)
def test_each_takes_ten_lines_at_most(code):
    lines = [line for line in code.splitlines() if line and not line.startswith(("import ", "from "))]
    assert 0 < len(lines) <= 10


def test_a_modality_a_model_and_a_loss_of_ones_own_train():
    cfg = load_cfg("own.yaml", ["POWER.P", 3.0])
    assert (cfg.IMPORTS, cfg.POWER.P) == (["my_research.py"], 3.0)
    task = build_task(cfg, torch.device("cpu"))
    clips = pixels()
    seen = task.inputs(clips)["edges"]
    torch.testing.assert_close(seen[..., 0], (clips["rgb"][..., 1].float() - clips["rgb"][..., 0].float()) / 255)
    out, changed = learns(task, clips)
    scores, labels = out["logits"].sigmoid(), (torch.manual_seed(0), torch.rand(2, 20) < 0.3)[1].float()
    torch.testing.assert_close(out["loss"], (scores - labels).abs().pow(3).mean())
    assert changed == 1.0


def test_a_model_of_joints_trains():
    task = build_task(load_cfg("poses.yaml"), torch.device("cpu"))
    out, changed = learns(task, {"skeleton": torch.rand(2, 3, 4, len(LAYOUTS["coco17"].names), 2)})
    assert (out["loss"].item() > 0, changed) == (True, 1.0)


def test_a_distiller_of_ones_own_trains_beside_a_teacher_of_ones_own_modality():
    cfg = load_cfg("distilled.yaml")
    teacher = load_cfg("own.yaml")
    task = build_distill(cfg, build_model(cfg), build_model(teacher))
    out, changed = learns(task, pixels())
    assert out["loss_l2"].item() > 0
    assert changed > 0.9


def test_a_modality_of_ones_own_is_read_and_drawn(tmp_path, noise_data):
    keys = ("DATA.PATH_TO_DATA_DIR", str(noise_data), "TRAIN.BATCH_SIZE", "2")
    assert show_batch.main(["--cfg", "own.yaml", *keys, "--out", str(tmp_path / "out")]) == 0
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["batch_edges.png"]
    assert forward_macs(load_cfg("own.yaml")) == 3 * 20


def test_a_row_of_ones_own_is_planned(tmp_path):
    (tmp_path / "configs" / "Mine").mkdir(parents=True)
    (tmp_path / "configs" / "Mine" / "small.yaml").write_text(SMALL)
    table, planned = read_table("my_table.yaml"), Plan()
    planned.add(table, "Mine", table.rows, [0], "full", [])
    assert planned.problems == []
    assert [job.run.cfg.DATA.MODALITY for job in planned.jobs.values()] == ["rgb", "edges"]


@pytest.mark.parametrize(
    "words", [("--import", "my_research.py", "--help-keys"), ("--help-keys", "--import", "my_research.py")]
)
def test_the_reference_has_what_is_ones_own(capsys, words):
    with pytest.raises(SystemExit):
        parse_args(words, None)
    shown = capsys.readouterr().out
    assert "DATA.MODALITY = 'rgb'  (rgb, rgb_diff, " in shown
    assert "skeleton_bone_motion, edges)" in shown
    assert "POWER.P = 2.0  (above 0)" in shown


def test_what_is_wrong_is_refused_by_name():
    with pytest.raises(UserError, match=r"^DATA\.MODALITY is rgb, but MODEL\.MODEL_NAME MeanJoint reads skeleton,"):
        load_cfg("poses.yaml", ["DATA.MODALITY", "rgb"])
    with pytest.raises(UserError, match=r"^DATA\.MODALITY is 'edge'; allowed: rgb, .*, edges$"):
        load_cfg("own.yaml", ["DATA.MODALITY", "edge"])
    with pytest.raises(UserError, match=r"^POWER\.P is 0\.0; it must be above 0$"):
        load_cfg("own.yaml", ["POWER.P", 0.0])
    with pytest.raises(UserError, match=r"^IMPORTS names absent\.py, which is missing or not a Python file"):
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
    args = parse_args(["--cfg", "own.yaml", "--import", "other.py"], None)
    assert load_cfg("own.yaml", args.opts).IMPORTS == ["my_research.py", "other.py"]


def test_ids_of_other_runs_do_not_depend_on_the_keys_of_ones_own():
    alone = plan(["small.yaml"])[0].id
    words = [[], ["POWER.P", 4.0], ["DATA.MODALITY", "rgb"]]
    assert len({plan(["own.yaml"], each)[0].id for each in words}) == len(words)
    assert plan(["small.yaml"])[0].id == alone


def test_a_config_from_elsewhere_runs_no_code(monkeypatch, folder):
    monkeypatch.setattr("transm3e.config.load.file_settings", lambda path: [(path, "IMPORTS", ["my_research.py"])])
    with pytest.raises(
        UserError, match=r"^https://a\.org/own\.yaml: IMPORTS is not allowed in a config from a URL; .* --import FILE$"
    ):
        load_cfg("https://a.org/own.yaml")
