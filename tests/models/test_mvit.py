"""The MViT backbone: recomputing blocks in the backward pass, drop path's rates, tokens, and input of other sizes."""

from __future__ import annotations

import pytest
import torch

from transm3e.config import get_cfg
from transm3e.models import build_model


def clip(batch=2, frames=4, size=32):
    return {"rgb": torch.rand(batch, 3, frames, size, size, generator=torch.Generator().manual_seed(1))}


def pair(cfg, name):
    """The same model without and with activation checkpointing, drop path and dropout active."""
    cfg.MODEL.MODEL_NAME = name
    cfg.MVIT.DROPPATH_RATE, cfg.MVIT.DROPOUT_RATE = 0.5, 0.1
    models = []
    for recompute in (False, True):
        cfg.MODEL.ACT_CHECKPOINT = recompute
        models.append(build_model(cfg).train())
    models[1].load_state_dict(models[0].state_dict())
    return models


def step(model, dtype=torch.float32):
    torch.manual_seed(5)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        loss = model(clip(4, 8, 64)).logits.float().square().sum()
    loss.backward()
    return loss, {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("name", ["MViT", "TransM3E"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_recomputed_blocks_give_the_same_bits(student_cfg, name, dtype):
    plain, recomputing = pair(student_cfg, name)
    (loss, gradients), (same_loss, same_gradients) = step(plain, dtype), step(recomputing, dtype)
    assert torch.equal(loss, same_loss)
    for parameter, gradient in gradients.items():
        assert torch.equal(gradient, same_gradients[parameter]), parameter
    # Drop path was active: another draw gives another loss.
    torch.manual_seed(6)
    assert not torch.equal(plain(clip(4, 8, 64)).logits.square().sum(), loss)


def kept_bytes(model):
    """Storage that a forward pass keeps for the backward pass, without the parameters."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    storages = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            # Held, so that no storage's place is used again.
            storages[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        out = model(clip())
    assert out.logits.requires_grad
    return sum(size for size, _ in storages.values())


def test_recomputed_blocks_keep_less(tiny_cfg):
    plain, recomputing = pair(tiny_cfg, "MViT")
    assert kept_bytes(recomputing) < 0.2 * kept_bytes(plain)


def test_no_block_is_recomputed_without_gradients(tiny_cfg):
    plain, recomputing = pair(tiny_cfg, "MViT")
    with torch.inference_mode():
        assert torch.equal(recomputing.eval()(clip()).logits, plain.eval()(clip()).logits)


def test_drop_path_rises_linearly_over_the_blocks(tiny_cfg):
    tiny_cfg.MODEL.MODEL_NAME, tiny_cfg.MVIT.DROPPATH_RATE = "MViT", 0.3
    rates = [block.drop_path.rate for block in build_model(tiny_cfg).backbone.blocks]
    assert rates == pytest.approx([0.0, 0.15, 0.3])


def test_backbone_returns_every_blocks_tokens_and_the_last_ones_normed(tiny_cfg):
    torch.manual_seed(0)
    backbone = build_model(tiny_cfg).backbone.eval()
    per_block, last = backbone(clip()["rgb"], torch.randn(1, 5, 16))
    assert [tokens.shape for tokens in per_block] == [(2, 5, 16), (2, 5, 16), (2, 5, 32), (2, 5, 64)]
    assert torch.equal(last, backbone.norm(per_block[-1]))
    assert torch.equal(per_block[0][0], per_block[0][1]), "before the first block no token has seen its clip"
    assert not torch.equal(per_block[1][0], per_block[1][1]), "tokens have seen their clips"


def test_tokens_of_earlier_blocks_are_not_written_over(tiny_cfg):
    """Blocks add in place; the tokens handed out per block must stay what they were."""
    torch.manual_seed(0)
    backbone = build_model(tiny_cfg).backbone.eval()
    tokens, seen = torch.randn(1, 5, 16), []
    before = tokens.clone()
    for block in backbone.blocks:
        block.register_forward_hook(lambda module, inputs, output: seen.append(output[1].detach().clone()))
    with torch.no_grad():
        per_block, _ = backbone(clip()["rgb"], tokens)
    assert torch.equal(tokens, before)
    assert all(torch.equal(one, other) for one, other in zip(per_block[1:], seen, strict=True))
    assert torch.equal(per_block[0], before.expand(2, -1, -1))


def test_the_residual_stream_stays_wide_under_mixed_precision(tiny_cfg):
    backbone = build_model(tiny_cfg).backbone.train()
    with torch.autocast("cpu", torch.bfloat16):
        per_block, last = backbone(clip()["rgb"], torch.randn(1, 5, 16))
    assert {tokens.dtype for tokens in (*per_block, last)} == {torch.float32}


@pytest.mark.parametrize(("frames", "size"), [(2, 32), (4, 64), (6, 40)])
def test_another_input_size_than_the_tables(tiny_cfg, frames, size):
    tiny_cfg.MODEL.MODEL_NAME = "MViT"
    model = build_model(tiny_cfg).double()
    clips = {"rgb": clip(2, frames, size)["rgb"].double()}
    model(clips).logits.sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_tokens_are_dropped_where_pyslowfast_drops_them(rate):
    """At the positions, after each attention's projection and in each MLP: 1 + 16 + 16 modules."""
    cfg = get_cfg()
    cfg.MODEL.MODEL_NAME, cfg.MVIT.DROPOUT_RATE = "MViT", rate
    with torch.device("meta"):
        backbone = build_model(cfg).backbone
    names = [name for name, module in backbone.named_modules() if isinstance(module, torch.nn.Dropout)]
    places = [f"blocks.{i}.{place}" for i in range(16) for place in ("attn.proj_drop", "mlp.drop")]
    assert names == ["pos_drop", *places]
    assert all(module.p == rate for module in backbone.modules() if isinstance(module, torch.nn.Dropout))


def test_attention_drops_its_projection(tiny_cfg):
    """Patches and class tokens: numbers are 0 or twice what they are in evaluation."""
    tiny_cfg.MODEL.MODEL_NAME, tiny_cfg.MVIT.DROPOUT_RATE = "MViT", 0.5
    attention = build_model(tiny_cfg).backbone.blocks[1].attn
    patches, tokens = torch.randn(2, 2 * 8 * 8, 16), torch.randn(2, 1, 16)
    dropped = attention(patches, tokens, (2, 8, 8))
    for out, whole in zip(dropped, attention.eval()(patches, tokens, (2, 8, 8)), strict=True):
        kept = out != 0
        assert torch.allclose(out[kept], 2 * whole[kept], atol=1e-6)
        assert 0.2 < kept.float().mean() < 0.8


@pytest.mark.parametrize("name", ["MViT", "TransM3E"])
@torch.no_grad()
def test_initial_weights_of_pyslowfast_by_kind(tiny_cfg, name):
    tiny_cfg.MODEL.MODEL_NAME, tiny_cfg.MVIT.INIT = name, "pyslowfast"
    tiny_cfg.MVIT.EMBED_DIM = 64
    model = build_model(tiny_cfg)
    kinds = {torch.nn.Linear: set(), torch.nn.Conv3d: set(), torch.nn.LayerNorm: set()}
    for module in model.modules():
        if type(module) in kinds:
            kinds[type(module)].add(module)
    for module in kinds[torch.nn.Linear] | kinds[torch.nn.Conv3d]:
        assert module.weight.std() == pytest.approx(0.02, rel=0.1)
        assert module.weight.mean().abs() < 0.002
    for module in kinds[torch.nn.Linear] | kinds[torch.nn.LayerNorm]:
        assert (module.bias == torch.tensor(0.02)).all()
    assert all((module.weight == 1).all() for module in kinds[torch.nn.LayerNorm])
    # The patch embedding's biases are PyTorch's, uniform; relative positions from N(0, 0.02), as ever.
    assert model.backbone.patch_embed.proj.bias.unique().numel() == 64
    assert model.backbone.blocks[0].attn.rel_pos_h.std() == pytest.approx(0.02, rel=0.2)
    tiny_cfg.MVIT.INIT = "torchvision"
    assert not build_model(tiny_cfg).backbone.blocks[0].attn.norm_q.bias.any()
