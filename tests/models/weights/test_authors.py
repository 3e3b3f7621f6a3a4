"""The authors' file: student and teacher, and which of their fusion's tensors is which of ours."""

import copy

import pytest
import torch
import torch.nn.functional as F

from transm3e.errors import UserError
from transm3e.layers.token_fusion import TokenFusion
from transm3e.models import build_model
from transm3e.models.weights import load_weights
from transm3e.models.weights.authors import convert_student

K, D = 20, 64
FUSE = "fuse.attn_mixed_cls_tokens."
PROJECTIONS = ("t1t1", "t1t2", "t2t1", "t2t2", "t1t2_2", "t2t1_2")


def draw(*shape):
    return torch.randn(shape, dtype=torch.float64) * 0.3


def their_fusion(dim=D):
    """Random tensors under the names of their MCTF."""
    norms = ("fuse.norm1_token1", "fuse.norm1_token2", "fuse.norm2_pathway1")
    state = {f"{norm}.{leaf}": draw(K, dim) for norm in norms for leaf in ("weight", "bias")}
    state |= {f"{FUSE}w{kind}_{t}.weight": draw(dim, dim) for kind in "qkv" for t in ("t1", "t2")}
    linear = [f"{FUSE}proj_{name}" for name in PROJECTIONS] + [f"{FUSE}proj.2"]
    linear += ["fuse.mlp_pathway1.fc1", "fuse.mlp_pathway1.fc2"]
    for name in linear:
        state |= {f"{name}.weight": draw(dim, dim), f"{name}.bias": draw(dim)}
    return state | {f"{FUSE}proj.0.weight": draw(dim, 2 * dim), f"{FUSE}proj.0.bias": draw(dim)}


def their_formula(state, t1, t2, view):
    """Their fusion of tokens (B, K, D), in eval mode, written out; each map's result goes through `view`."""

    def linear(name, x):
        return F.linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))

    def norm(name, x):
        return F.layer_norm(x, (K, D), state[f"{name}.weight"], state[f"{name}.bias"])

    normed = {"t1": norm("fuse.norm1_token1", t1), "t2": norm("fuse.norm1_token2", t2)}
    q, k, v = ({t: linear(f"{FUSE}w{kind}_{t}", x) for t, x in normed.items()} for kind in "qkv")

    def attend(query, key, value):
        scores = torch.einsum("bic,bjc->bij", q[query], k[key]) * D**-0.5
        return view(torch.einsum("bij,bjc->bic", scores.softmax(dim=2), v[value]))

    def stream(value, suffix):
        names = (
            [("t1", "t1"), ("t1", "t2"), ("t2", "t1")] if value == "t1" else [("t2", "t2"), ("t1", "t2"), ("t2", "t1")]
        )
        return sum(linear(f"{FUSE}proj_{a}{b}{suffix if a != b else ''}", attend(a, b, value)) for a, b in names)

    both = torch.cat((stream("t1", ""), stream("t2", "_2")), dim=2)
    attended = linear(f"{FUSE}proj.2", linear(f"{FUSE}proj.0", both).relu())
    mean = (t1 + t2) / 2
    hidden = F.gelu(linear("fuse.mlp_pathway1.fc1", norm("fuse.norm2_pathway1", mean + attended)))
    return mean + linear("fuse.mlp_pathway1.fc2", hidden)


def transposed(out):
    return out.transpose(1, 2).contiguous().view(len(out), -1, D)


@pytest.mark.parametrize(("authors_view", "view"), [(True, transposed), (False, lambda out: out)])
def test_the_fusion_computes_what_theirs_does(authors_view, view):
    torch.manual_seed(0)
    theirs = their_fusion()
    fusion = TokenFusion(K, D, scale=0, qkv_bias=False, authors_view=authors_view).double().eval()
    ours = convert_student(theirs, {}).state
    fusion.load_state_dict({name.removeprefix("fusion."): tensor for name, tensor in ours.items()})
    receivers, mcts = draw(3, K, D) * 5, draw(3, K, D) * 5
    # Their call is fuse(x[:, :20], x[:, 20:40]), and the receivers come first in x.
    expected = their_formula(theirs, t1=receivers, t2=mcts, view=view)
    assert torch.allclose(fusion(mcts, receivers), expected, rtol=0, atol=1e-12)
    assert not torch.allclose(fusion(receivers, mcts), expected, rtol=0, atol=1e-3)


@pytest.fixture
def cfg(student_cfg):
    student_cfg.MCTF.QKV_BIAS = False
    return student_cfg


@pytest.fixture
def teacher_cfg(tiny_cfg):
    tiny_cfg.TRANSM3E.RECEIVERS = False
    return tiny_cfg


def their_file(student, teacher):
    """Both branches under their names."""
    theirs = {}
    for model, suffix in ((student, ""), (teacher, "_diff")):
        for name, tensor in model.state_dict().items():
            if name.startswith("backbone."):
                first, rest = name.removeprefix("backbone.").split(".", 1)
                theirs[f"{first}{suffix}.{rest}"] = tensor
        theirs[f"cls_token{suffix}"] = model.mcts.detach()
    theirs["cls_token_distill"] = student.receivers.detach()
    theirs |= {f"head_cls.projection.{leaf}": getattr(student.head, leaf).detach() for leaf in ("weight", "bias")}
    return theirs | {name: tensor.float() for name, tensor in their_fusion(student.backbone.dim_out).items()}


@pytest.fixture
def file(cfg, teacher_cfg):
    torch.manual_seed(3)
    return their_file(build_model(cfg), build_model(teacher_cfg))


def randomised(model):
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


def test_the_student_comes_whole_and_the_teacher_is_left_out(cfg, file):
    model = randomised(build_model(cfg))
    report = load_weights(model, file)
    assert (report.source, report.missing) == ("authors", ())
    assert set(report.loaded) == set(model.state_dict())
    assert all("_diff" in name for name in report.unused)
    assert dict(report.reshaped) == {"fusion.fuse.0.weight": "halves swapped: in the file receivers come first"}
    assert torch.equal(model.mcts, file["cls_token"])
    assert torch.equal(model.receivers, file["cls_token_distill"])
    assert torch.equal(model.head.weight, file["head_cls.projection.weight"])
    assert torch.equal(model.backbone.blocks[1].attn.qkv.weight, file["blocks.1.attn.qkv.weight"])


def test_the_teacher_comes_without_its_head(teacher_cfg, file):
    model = randomised(build_model(teacher_cfg))
    kept = copy.deepcopy(model.head.state_dict())
    report = load_weights(model, file, source="authors_teacher")
    assert report.missing == ("head.weight", "head.bias")
    assert "does not hold its head" in str(report)
    assert torch.equal(model.mcts, file["cls_token_diff"])
    assert torch.equal(model.backbone.patch_embed.proj.weight, file["patch_embed_diff.proj.weight"])
    assert torch.equal(model.backbone.norm.bias, file["norm_diff.bias"])
    assert all(torch.equal(kept[name], tensor) for name, tensor in model.head.state_dict().items())


def test_a_student_with_biases_or_without_receivers_is_another_model(student_cfg, teacher_cfg, file):
    student_cfg.MCTF.QKV_BIAS = True
    with pytest.raises(UserError, match=r"6 missing \(fusion\.inputs\.k_m\.bias"):
        load_weights(build_model(student_cfg), file)
    with pytest.raises(UserError, match=r"unused \(fusion|unused \(receivers"):
        load_weights(build_model(teacher_cfg), file)
