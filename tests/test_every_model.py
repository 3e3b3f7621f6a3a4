"""Every registered model: forward and backward, a gradient for every parameter, state dict, batch order."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from tests.each import assert_each
from transm3e.config.node import merge, opt_settings
from transm3e.joints import find_layout
from transm3e.layers.fusions import FUSIONS
from transm3e.modalities import model_modalities, readable_by
from transm3e.models import MODELS, build_model
from transm3e.models.two_branch import TWO_BRANCH_FUSIONS

# Gradients that are zero by mathematics: softmax does not see a shift of all keys (the bias of norm_k); where only
# class tokens are read out, the patches' queries of the last block, and what only they use, have no effect.
LAST_BLOCK_SILENT = ("attn.pool_q.weight", "attn.rel_pos_t", "attn.rel_pos_h", "attn.rel_pos_w")
# A batch norm takes every channel's mean away, and so the effect of the biases before it.
BEFORE_BATCH_NORM = {
    "STGCN": r"temporal\.2\.bias|around\.0\.bias",
    "CTRGCN": r"spatial_around\.0\.bias|around\.0\.bias|temporal\.(enter\.0|dilated\.\d|point)\.bias",
    "HDGCN": r"spatial\.(attention\.)?reduce\.0\.bias|spatial\.subsets\.0\.bias|around\.0\.bias"
    r"|temporal\.(enter\.0|dilated\.\d|point)\.bias|blocks\.0\.spatial\.subsets\.1\.bias",
}
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
NORMS = (*BATCH_NORMS, nn.LayerNorm)
TINY = {
    "C2D": ["MODEL.MODEL_NAME", "ResNet", "MODEL.ARCH", "c2d", "RESNET.WIDTH_PER_GROUP", 8],
    "I3D": ["MODEL.MODEL_NAME", "ResNet", "MODEL.ARCH", "i3d", "RESNET.WIDTH_PER_GROUP", 8],
    "Slow": ["MODEL.MODEL_NAME", "ResNet", "MODEL.ARCH", "slow", "RESNET.WIDTH_PER_GROUP", 8],
    "SlowFast": ["MODEL.MODEL_NAME", "SlowFast", "SLOWFAST.ALPHA", 2, "RESNET.WIDTH_PER_GROUP", 8],
    **{
        name: ["MODEL.MODEL_NAME", name, "RESNET.WIDTH_PER_GROUP", 8, "SLOWFAST.ALPHA", 2, "MODEL.ARCH", "c2d"]
        for name in ("PTVResNet", "ResNet_nopool", "PTVSlowFast", "PTVCSN", "PTVR2plus1D")
    },
    **{
        name: [
            *("MODEL.MODEL_NAME", name, "RESNET.TRANS_FUNC", "x3d_transform", "X3D.WIDTH_FACTOR", 0.7),
            *("X3D.DEPTH_FACTOR", 1.0, "X3D.DIM_C5", 16),
        ]
        for name in ("X3D", "PTVX3D")
    },
    "VideoSwin": [
        *("MODEL.MODEL_NAME", "VideoSwin", "VIDEOSWIN.EMBED_DIM", 8, "VIDEOSWIN.DEPTHS", [2, 2]),
        *("VIDEOSWIN.NUM_HEADS", [2, 4], "VIDEOSWIN.WINDOW_SIZE", [2, 4, 4], "VIDEOSWIN.DROPPATH_RATE", 0.0),
    ],
    # With one subset of neighbours the bias of a graph convolution is the same for all joints, and so silent too.
    "STGCN": ["MODEL.MODEL_NAME", "STGCN", "STGCN.WIDTH", 8, "STGCN.PARTITION", "spatial"],
    "CTRGCN": ["MODEL.MODEL_NAME", "CTRGCN", "CTRGCN.WIDTH", 8],
    "HDGCN": ["MODEL.MODEL_NAME", "HDGCN", "HDGCN.WIDTH", 8],
    "PoseNet": ["MODEL.MODEL_NAME", "PoseNet", "POSENET.WIDTH", 8, "SKELETON.LAYOUT", "body23"],
    "TransM3E class tokens": ["MODEL.MODEL_NAME", "TransM3E", "TRANSM3E.READOUT", "class_tokens"],
    **{
        f"TransM3E {fusion}": ["MODEL.MODEL_NAME", "TransM3E", "TRANSM3E.RECEIVERS", True, "TRANSM3E.FUSION", fusion]
        for fusion in FUSIONS
        if fusion != "mctf"
    },
    **{
        f"TwoBranch {fusion}": ["MODEL.MODEL_NAME", "TwoBranch", "TWO_BRANCH.FUSION", fusion]
        for fusion in TWO_BRANCH_FUSIONS
    },
    **{
        name: ["MODEL.MODEL_NAME", name]
        for name in ("Random", "AllOnes", "MViT", "DeiT", "TransM3E", "TransM3E student")
    },
}


def truly_zero(name: str, cfg) -> bool:
    model = cfg.MODEL.MODEL_NAME
    if model in BEFORE_BATCH_NORM:
        return re.search(rf"(^|\.)({BEFORE_BATCH_NORM[model]})$", name) is not None
    if name.endswith("norm_k.bias") or re.search(r"^(fusion\.(inputs\.k_[mr]|.*\.k)|net\.blocks\.\d\.k)\.bias$", name):
        return True
    # Attention between two branches reads the last patches.
    if model == "TwoBranch" and cfg.TWO_BRANCH.FUSION in ("cross_attention", "mixed"):
        return False
    return name.endswith(tuple(f"backbone.blocks.{cfg.MVIT.DEPTH - 1}.{part}" for part in LAST_BLOCK_SILENT))


@pytest.fixture
def of_each_model(tiny_cfg, student_cfg):
    """of_each_model(rule): rule(cfg) holds for a small one of every model."""

    def cfg_of(name):
        cfg = (student_cfg if name == "TransM3E student" else tiny_cfg).clone()
        merge(cfg, opt_settings(TINY[name]), "test")
        cfg.MODEL.MODEL_NAME = cfg.MODEL.MODEL_NAME.split()[0]
        cfg.MVIT.DROPPATH_RATE = cfg.MCTF.DROPPATH_RATE = 0.0
        if cfg.DATA.MODALITY not in readable_by(MODELS[cfg.MODEL.MODEL_NAME]):
            cfg.DATA.MODALITY = "skeleton"
        return cfg

    return lambda rule: assert_each(rule, {name: cfg_of(name) for name in TINY})


def test_all_models_are_here():
    assert {opts[1].split()[0] for opts in TINY.values()} == set(MODELS)


def random_clips(cfg, number, frames=4, size=32, dtype=torch.float32):
    """Clips of the modalities that the model reads, (number, 3, frames, ...)."""
    rest = (size, size)
    if cfg.DATA.MODALITY == "skeleton":
        rest = (len(find_layout(cfg.SKELETON.LAYOUT).names), cfg.SKELETON.NUM_PERSONS)
    return {name: torch.rand(number, 3, frames, *rest, dtype=dtype) for name in model_modalities(cfg)}


def stirred(model):
    """The same with scales around 1: some start at or near 0, and nothing behind those would be seen."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for module in model.modules():
            if isinstance(module, NORMS):
                if module.weight is not None:
                    nn.init.uniform_(module.weight, 0.5, 1.5)
                if isinstance(module, BATCH_NORMS):
                    nn.init.normal_(module.running_mean, std=0.1)
                    nn.init.uniform_(module.running_var, 0.5, 1.5)
        # CTR-GCN's share of each channel's own topology.
        for name, parameter in model.named_parameters():
            if name.endswith(".alpha"):
                nn.init.uniform_(parameter, 0.5, 1.5)
    return model


@pytest.mark.parametrize(("frames", "size"), [(4, 32), (8, 48)])
def test_forward_at_two_sizes(of_each_model, frames, size):
    def rule(model_cfg):
        out = build_model(model_cfg).eval()(random_clips(model_cfg, 2, frames, size))
        assert out.logits.shape == (2, 20)
        assert torch.isfinite(out.logits).all()

    of_each_model(rule)


def test_every_trainable_parameter_gets_a_gradient(of_each_model):
    def rule(model_cfg):
        torch.manual_seed(0)
        model = stirred(build_model(model_cfg).double())
        if not list(model.parameters()):
            return
        model(random_clips(model_cfg, 3, dtype=torch.float64)).logits.square().sum().backward()
        silent = {n for n, p in model.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-12}
        assert silent == {n for n, _ in model.named_parameters() if truly_zero(n, model_cfg)}

    of_each_model(rule)


def test_state_dict_round_trip(of_each_model):
    def rule(model_cfg):
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

    of_each_model(rule)


def test_batch_order_does_not_matter(of_each_model):
    def rule(model_cfg):
        torch.manual_seed(0)
        model = stirred(build_model(model_cfg)).double().eval()
        clips, order = random_clips(model_cfg, 4, dtype=torch.float64), torch.tensor([2, 0, 3, 1])
        shuffled = {name: clip[order] for name, clip in clips.items()}
        single = {name: clip[1:2] for name, clip in clips.items()}
        with torch.no_grad():
            together, alone = model(clips).logits, model(shuffled).logits
        torch.testing.assert_close(together[order], alone, rtol=1e-10, atol=1e-10)
        with torch.no_grad():
            torch.testing.assert_close(model(single).logits[0], together[1], rtol=1e-10, atol=1e-10)

    of_each_model(rule)


def test_training_and_evaluation_differ_only_by_batch_statistics_and_dropout(of_each_model):
    def rule(model_cfg):
        torch.manual_seed(0)
        model, clips = stirred(build_model(model_cfg)).double(), random_clips(model_cfg, 3, dtype=torch.float64)
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            if isinstance(module, BATCH_NORMS):
                # Evaluation by the statistics of the batch, too.
                module.track_running_stats, module.running_mean, module.running_var = False, None, None
        with torch.no_grad():
            trained, evaluated = model.train()(clips).logits, model.eval()(clips).logits
        torch.testing.assert_close(trained, evaluated, rtol=1e-10, atol=1e-10)

    of_each_model(rule)


DROPOUT = [
    *(
        "MODEL.DROPOUT_RATE",
        0.5,
        "MVIT.DROPOUT_RATE",
        0.5,
        "MCTF.DROPOUT",
        0.5,
        "STGCN.DROPOUT",
        0.5,
        "CTRGCN.DROPOUT",
        0.5,
    ),
    *("HDGCN.DROPOUT", 0.5, "VIDEOSWIN.DROPOUT_RATE", 0.5),
]


def test_every_dropout_is_used(of_each_model):
    def rule(model_cfg):
        merge(model_cfg, opt_settings(DROPOUT), "test")
        model, called = build_model(model_cfg).train(), set()
        dropouts = {
            name: module for name, module in model.named_modules() if isinstance(module, nn.Dropout) and module.p
        }
        for name, module in dropouts.items():
            module.register_forward_hook(lambda *_, name=name: called.add(name))
        model(random_clips(model_cfg, 2))
        assert called == set(dropouts)
        assert bool(dropouts) == bool(list(model.parameters()))
        # The one before the last layer takes everything away, and leaves its bias. Class tokens are read without a layer.
        fuses_scores = model_cfg.MODEL.MODEL_NAME == "TwoBranch" and model_cfg.TWO_BRANCH.FUSION in (
            "late_sum",
            "late_mul",
        )
        if (model_cfg.TRANSM3E.READOUT == "mean" and not fuses_scores) and (
            head := [
                module
                for name, module in model.named_modules()
                if name.endswith(("head", "proj")) and isinstance(module, nn.Linear)
            ]
        ):
            for module in dropouts.values():
                module.p = 1.0
            logits = model(random_clips(model_cfg, 2)).logits
            expected = head[-1].bias.expand_as(logits)
            torch.testing.assert_close(logits.log_softmax(dim=1), expected.log_softmax(dim=1))

    of_each_model(rule)
