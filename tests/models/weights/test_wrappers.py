"""What stands around weights: dicts of checkpoints, averages, wrappers' and programs' prefixes, in any order."""

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from transm3e.errors import UserError
from transm3e.models import build_model
from transm3e.models.weights import load_weights, read_checkpoint
from transm3e.models.weights.tables import checkpoint_table
from transm3e.models.weights.wrappers import unwrap

A, B, C = ({"backbone.w": torch.full((2,), float(i))} for i in range(3))


def saved(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    return tmp_path / "a.pth"


def taken(tmp_path, content, member=""):
    return read_checkpoint(f"{saved(tmp_path, content)}{member}")


@pytest.fixture
def cfg(tiny_cfg):
    tiny_cfg.MODEL.MODEL_NAME = "MViT"
    return tiny_cfg


@pytest.fixture
def models(cfg):
    """Two of other weights."""
    torch.manual_seed(1)
    one = build_model(cfg)
    torch.manual_seed(2)
    return one, build_model(cfg)


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize(
    ("content", "expected", "note"),
    [
        ({"state_dict": A, "optimizer": {"state": {}}, "epoch": 3}, A, ""),
        ({"model": A, "model_ema": B}, A, "as trained ('model') used; for those averaged give FILE::model_ema"),
        ({"state_dict": A, "state_dict_ema": B}, A, "averaged give FILE::state_dict_ema"),
        (
            {"state_dict": A, "ema_state_dict": B, "message_hub": {}},
            A,
            "averaged ('state_dict') used; for those as trained",
        ),
        ({"model_ema": B}, B, "averaged weights of 'model_ema', the only ones in the file"),
        ({"ema_state": B, "epoch": 3}, B, "averaged weights of 'ema_state'"),
        ({"model": {}, "ema": B}, B, "averaged weights of 'ema'"),
        ({"model_state_dict": A, "loss": torch.ones(1)}, A, ""),
        ({"module": A, "ds_config": {}}, A, ""),
        ({"state_dict": A | {"head._extra_state": None}}, A, ""),
    ],
)
def test_the_weights_as_trained_are_taken_and_averages_named(tmp_path, content, expected, note):
    read = taken(tmp_path, content)
    assert read["model_state"].keys() == A.keys()
    assert torch.equal(read["model_state"]["backbone.w"], expected["backbone.w"])
    assert note in read.get("weights_note", "")
    assert bool(note) == ("weights_note" in read)
    assert note in checkpoint_table(tmp_path / "a.pth")


def test_a_member_names_what_to_take(tmp_path):
    content = {"model": A, "model_ema": B, "student": C, "epoch": 3}
    assert taken(tmp_path, content, "::model_ema")["model_state"]["backbone.w"][0] == 1
    assert taken(tmp_path, content, "::student")["model_state"]["backbone.w"][0] == 2
    assert taken(tmp_path, content, "::model_ema")["epoch"] == 3
    assert set(taken(tmp_path, {"model": A}, "::backbone")["model_state"]) == {"w"}
    with pytest.raises(UserError, match=r"no weights under 'gone'.*are under model, model_ema, student: name one"):
        taken(tmp_path, content, "::gone")
    with pytest.raises(UserError, match="weights are under student, teacher: name one, FILE::student"):
        taken(tmp_path, {"student": A, "teacher": B, "epoch": 3})


def compiled(name):
    return f"_orig_mod.{name}"


def ddp(name):
    return f"module.{name}"


def within(name):
    return name.replace("blocks.0.", "blocks.0._checkpoint_wrapped_module.", 1)


@pytest.mark.parametrize(
    "wraps",
    [
        [ddp, compiled],
        [compiled, ddp, compiled],
        [lambda name: f"model.{name}"],
        [lambda name: f"net.{name}", ddp],
        [ddp, lambda name: f"model.{name}", compiled],
        [lambda name: f"model.net.{name}", lambda name: f"_forward_module.{name}"],
        [lambda name: f"_fsdp_wrapped_module.{name}", within],
        [within, lambda name: f"video_encoder.{name}"],
    ],
)
def test_wrappers_come_off_in_any_order(models, wraps):
    theirs, model = models
    state = theirs.state_dict()
    for wrap in wraps:
        state = {wrap(name): tensor for name, tensor in state.items()}
    report = load_weights(model, state)
    assert (report.missing, report.unused) == ((), ())
    assert "removed from the names" in str(report)
    assert equal(theirs, model)


def test_a_lightning_module_is_its_model_and_the_rest_is_named(models, tmp_path):
    theirs, model = models
    state = {f"model.{name}": tensor for name, tensor in theirs.state_dict().items()}
    state |= {"criterion.pos_weight": torch.ones(20), "metric.tp": torch.zeros(20)}
    hooks = {"callbacks": {"EMA{}": {}}, "hyper_parameters": {"lr": 0.1}, "pytorch-lightning_version": "2.2.0"}
    report = load_weights(model, saved(tmp_path, {"state_dict": state, "optimizer_states": [], **hooks}))
    assert set(report.unused) == {"criterion.pos_weight", "metric.tp"}
    assert "model. removed from the names, 2 other tensors left out (criterion.pos_weight, ...)" in str(report)
    assert equal(theirs, model)


def test_two_models_in_one_are_not_chosen_between(models, tmp_path):
    theirs, model = models
    state = {f"{side}.{name}": t for side in ("student", "teacher") for name, t in theirs.state_dict().items()}
    before = copy.deepcopy(model)
    file = saved(tmp_path, {"state_dict": state})
    with pytest.raises(UserError, match=r"several models \(student\., teacher\.\); name one, FILE::student"):
        load_weights(model, file)
    assert equal(before, model)
    load_weights(model, f"{file}::teacher")
    assert equal(theirs, model)


def test_an_average_of_torch_is_its_model(models, tmp_path):
    theirs, model = models
    average = AveragedModel(theirs)
    average.update_parameters(theirs)
    report = load_weights(model, saved(tmp_path, {"averaged_model": average.state_dict()}))
    assert "averaged weights of 'averaged_model'" in str(report)
    assert "an average of weights" in str(report)
    assert equal(theirs, model)


def test_other_names_at_the_beginning_are_not_taken_for_a_wrapper():
    state = {"encoder.a": torch.ones(1), "decoder.b": torch.ones(1)}
    assert unwrap(state).state.keys() == state.keys()
    # DDP's prefix on some names only is a module called so.
    assert unwrap({"module.a": torch.ones(1), "b": torch.ones(1)}).notes == ()
    deep = {"x." * 30 + "blocks.0.attn.pool_k.weight": torch.ones(1)}
    assert unwrap(deep).state.keys() == deep.keys()


def test_a_source_that_is_named_decides_what_is_taken_off(models):
    theirs, model = models
    state = {f"model.{name.removeprefix('backbone.')}": t for name, t in theirs.state_dict().items()}
    state = {name.replace("head.", "head.projection."): t for name, t in state.items()}
    assert load_weights(model, state, source="pyslowfast").source == "pyslowfast"
    assert equal(theirs, model)


def test_a_linear_model_of_no_source_is_refused_by_its_names(models):
    with pytest.raises(UserError, match="are of no known source"):
        load_weights(models[1], nn.Linear(2, 2).state_dict())


def test_our_own_backbone_is_no_wrapper(models):
    state = models[0].state_dict()
    assert unwrap(state).state.keys() == state.keys()
    other = {name: torch.ones(1) for name in ("other.a", "other.b")}
    assert unwrap(state, other).dropped == ()
    theirs = {
        f"backbone.{n.removeprefix('backbone.').replace('head.', 'head.projection.')}": t for n, t in state.items()
    }
    assert load_weights(models[1], theirs | {"neck.w": torch.ones(1)}).unused == ("neck.w",)
    assert equal(*models)
