"""Every registered model: forward and backward, a gradient for every parameter, state dict, batch order."""

from __future__ import annotations

import pytest
import torch

from transm3e.joints import find_layout
from transm3e.models import MODELS, build_model

# Models that read skeletons; all others read RGB.
ON_SKELETONS = ("STGCN",)

# Gradients that are zero by mathematics: softmax does not see a shift of all keys (the bias of norm_k); where only
# class tokens are read out, the patches' queries of the last block, and what only they use, have no effect.
LAST_BLOCK_SILENT = ("attn.pool_q.weight", "attn.rel_pos_t", "attn.rel_pos_h", "attn.rel_pos_w")
# Biases before a batch norm, which takes every channel's mean away.
BEFORE_BATCH_NORM = ("temporal.2.bias", "around.0.bias")


def truly_zero(name: str, depth: int) -> bool:
    if name.endswith(BEFORE_BATCH_NORM):
        return True
    if name.endswith("norm_k.bias") or (name.startswith("fusion.inputs.k_") and name.endswith("bias")):
        return True
    return name in {f"backbone.blocks.{depth - 1}.{part}" for part in LAST_BLOCK_SILENT}


@pytest.fixture(params=[*MODELS, "TransM3E student"])
def model_cfg(request, tiny_cfg, student_cfg):
    cfg = student_cfg if request.param == "TransM3E student" else tiny_cfg
    cfg.MODEL.MODEL_NAME = request.param.split()[0]
    cfg.MVIT.DROPPATH_RATE = cfg.MCTF.DROPPATH_RATE = 0.0
    if cfg.MODEL.MODEL_NAME in ON_SKELETONS:
        # With one subset of neighbours the bias of a graph convolution is the same for all joints, and so silent too.
        cfg.DATA.MODALITY, cfg.STGCN.PARTITION = "skeleton", "spatial"
    return cfg


def random_clips(cfg, number, frames=4, size=32, dtype=torch.float32):
    """Clips of the modality that the model reads, (number, 3, frames, ...)."""
    rest = (size, size)
    if cfg.DATA.MODALITY == "skeleton":
        rest = (len(find_layout(cfg.SKELETON.LAYOUT).names), cfg.SKELETON.NUM_PERSONS)
    return {cfg.DATA.MODALITY: torch.rand(number, 3, frames, *rest, dtype=dtype)}


@pytest.mark.parametrize(("frames", "size"), [(4, 32), (8, 48)])
def test_forward_at_two_sizes(model_cfg, frames, size):
    out = build_model(model_cfg).eval()(random_clips(model_cfg, 2, frames, size))
    assert out.logits.shape == (2, 20)
    assert torch.isfinite(out.logits).all()


def test_every_trainable_parameter_gets_a_gradient(model_cfg):
    torch.manual_seed(0)
    model = build_model(model_cfg).double()
    if not list(model.parameters()):
        pytest.skip("a model without parameters")
    model(random_clips(model_cfg, 3, dtype=torch.float64)).logits.square().sum().backward()
    silent = {n for n, p in model.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-12}
    assert silent == {n for n, _ in model.named_parameters() if truly_zero(n, model_cfg.MVIT.DEPTH)}


def test_state_dict_round_trip(model_cfg):
    clip = random_clips(model_cfg, 2)
    one = build_model(model_cfg).eval()
    for parameter in one.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    model_cfg.RNG_SEED = 7
    two = build_model(model_cfg).eval()
    two.load_state_dict(one.state_dict())
    if not list(one.parameters()):
        assert one.state_dict() == {}, "a model without parameters keeps nothing else either"
        return
    assert torch.equal(one(clip).logits, two(clip).logits)


def test_batch_order_does_not_matter(model_cfg):
    model = build_model(model_cfg).eval()
    clips, order = random_clips(model_cfg, 4), torch.tensor([2, 0, 3, 1])
    shuffled = {name: clip[order] for name, clip in clips.items()}
    single = {name: clip[1:2] for name, clip in clips.items()}
    with torch.no_grad():
        together, alone = model(clips).logits, model(shuffled).logits
    assert torch.allclose(together[order], alone, atol=1e-5)
    assert torch.allclose(model(single).logits[0], together[1], atol=1e-5)
