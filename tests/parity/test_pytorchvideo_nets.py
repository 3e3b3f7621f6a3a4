"""X3D, CSN, R(2+1)D and SlowFast with blocks per pathway against pytorchvideo's builders, called as PySlowFast calls them."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from pytorchvideo.models.csn import create_csn
from pytorchvideo.models.r2plus1d import create_r2plus1d
from pytorchvideo.models.slowfast import create_slowfast
from pytorchvideo.models.x3d import create_x3d
from torch import nn

from tests.parity.test_resnet3d import randomise
from transm3e.config import get_cfg
from transm3e.config.node import merge, opt_settings
from transm3e.models import MODELS, build_model, count_parameters
from transm3e.models.slowfast import slow_frames
from transm3e.models.weights import load_weights

FRAMES, CROP, CLASSES = 8, 64, 5
BOTTLENECK = {"model_depth": 50, "stem_dim_out": 8}
X3D = {
    "width_factor": 0.7,
    "depth_factor": 1.2,
    "head_dim_out": 32,
    "input_clip_length": FRAMES,
    "input_crop_size": CROP,
}
X3D_OPTS = "X3D.WIDTH_FACTOR 0.7 X3D.DEPTH_FACTOR 1.2 X3D.DIM_C5 32 RESNET.TRANS_FUNC x3d_transform"
# Model -> pytorchvideo's builder, and the frames that its head pools; what a config sets.
NETS = {
    "X3D": (partial(create_x3d, **X3D), FRAMES, X3D_OPTS),
    "PTVX3D": (partial(create_x3d, **X3D), FRAMES, X3D_OPTS),
    "PTVCSN": (partial(create_csn, stem_pool=nn.MaxPool3d, **BOTTLENECK), FRAMES // 8, ""),
    "PTVR2plus1D": (partial(create_r2plus1d, **BOTTLENECK), FRAMES // 4, ""),
}


def cfg_of(name, opts=""):
    cfg = get_cfg()
    words = (f"MODEL.MODEL_NAME {name} MODEL.NUM_CLASSES {CLASSES} RESNET.WIDTH_PER_GROUP 8 DATA.NUM_FRAMES {FRAMES} "
             f"DATA.TRAIN_CROP_SIZE {CROP} {opts}")  # fmt: skip
    merge(cfg, opt_settings(words.split()), "test")
    MODELS[name].check(cfg)
    return cfg


def pair(cfg, build):
    torch.manual_seed(0)
    model = build(model_num_class=CLASSES, head_activation=nn.Softmax)
    if cfg.MODEL.MODEL_NAME == "X3D":
        # PySlowFast norms every shortcut.
        first = model.blocks[1].res_blocks[0]
        first.branch1_norm = nn.BatchNorm3d(len(first.branch1_conv.weight))
    randomise(model)
    mine = build_model(cfg)
    report = load_weights(mine, {f"model.{name}": tensor for name, tensor in model.state_dict().items()})
    assert (report.source, report.missing, report.unused) == ("pytorchvideo", (), ())
    return mine.double().eval(), model.double().eval()


@pytest.mark.parametrize("name", NETS)
@torch.no_grad()
def test_scores_equal_pytorchvideos_at_two_sizes(name):
    build, pooled, opts = NETS[name]
    mine, model = pair(cfg_of(name, opts), partial(build, dropout_rate=0.5))
    if "X3D" not in name:
        model.blocks[-1].pool = nn.AvgPool3d((pooled, CROP // 32, CROP // 32), stride=1)
    for pixels in (CROP, CROP + 32):
        clip = torch.rand(2, 3, FRAMES, pixels, pixels, dtype=torch.float64)
        logits = mine({"rgb": clip}).logits
        assert torch.allclose(logits.softmax(1), model(clip), rtol=0, atol=1e-12)
        assert logits.std() > 1e-3


@pytest.mark.parametrize("blocks", [[[3, 3], [4, 4], [6, 23], [3, 3]], [[3], [4], [6], [3]], []])
@torch.no_grad()
def test_slowfast_of_101_layers_with_blocks_per_pathway(blocks):
    """PySlowFast's R101 "50_101", "50_50" and "101_101"."""
    slow, fast = (6, 23) if blocks and len(blocks[2]) == 2 else (6, 6) if blocks else (23, 23)
    third = [[(3, 1, 1)] * some + [(1, 1, 1)] * (23 - some) for some in (slow, fast)]
    kernels = [[(1, 1, 1)] * 2 + [third[0], (3, 1, 1)], [(3, 1, 1)] * 2 + [third[1], (3, 1, 1)]]
    build = partial(
        create_slowfast,
        model_depth=101,
        stem_dim_outs=(8, 1),
        slowfast_fusion_conv_kernel_size=(5, 1, 1),
        stage_conv_a_kernel_sizes=kernels,
        head_pool_kernel_sizes=((FRAMES // 4, 2, 2), (FRAMES, 2, 2)),
    )
    cfg = cfg_of("SlowFast", "RESNET.DEPTH 101 SLOWFAST.ALPHA 4")
    cfg.RESNET.NUM_BLOCK_TEMP_KERNEL = blocks
    mine, model = pair(cfg, build)
    clip = torch.rand(1, 3, FRAMES, CROP, CROP, dtype=torch.float64)
    expected = model([slow_frames(clip, 4), clip])
    assert torch.allclose(mine({"rgb": clip}).logits.softmax(1), expected, rtol=0, atol=1e-12)


# https://github.com/facebookresearch/pytorchvideo/blob/main/docs/source/model_zoo.md, in millions.
@pytest.mark.parametrize(
    ("name", "opts", "millions"),
    [
        ("X3D", "RESNET.TRANS_FUNC x3d_transform", 3.79),
        ("X3D", "RESNET.TRANS_FUNC x3d_transform X3D.DEPTH_FACTOR 5.0", 6.15),
        ("PTVCSN", "RESNET.DEPTH 101 RESNET.WIDTH_PER_GROUP 64", 22.21),
        ("PTVR2plus1D", "RESNET.WIDTH_PER_GROUP 64", 28.11),
    ],
)
def test_parameters_of_the_published_sizes(name, opts, millions):
    with torch.device("meta"):
        model = build_model(cfg_of(name, f"MODEL.NUM_CLASSES 400 {opts}"))
    assert count_parameters(model) / 1e6 == pytest.approx(millions, abs=0.005)
