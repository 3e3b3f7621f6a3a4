"""C2D, I3D and Slow: sizes, settings, activation checkpoints, messages. Their values: tests/parity/test_resnet3d.py."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from transm3e.errors import UserError
from transm3e.models import MODELS, build_model, count_parameters
from transm3e.models.resnet3d import ARCHS, ResNet3D, find_builder, stage_kernels
from transm3e.models.slowfast import SlowFast

# With 20 classes and 3 channels.
PARAMETERS = {"c2d": 23_549_012, "i3d": 27_264_852, "slow": 31_675_476}
SMALL = {"num_classes": 5, "width": 8}


@pytest.mark.parametrize("arch", ARCHS)
def test_parameters_of_the_published_size(arch):
    with torch.device("meta"):
        model, flow = ResNet3D(arch, 20), ResNet3D(arch, 20, modality="flow")
    assert count_parameters(model) == PARAMETERS[arch.removesuffix("_nopool")]
    assert count_parameters(model) - count_parameters(flow) == 64 * ARCHS[arch].stem * 49


@pytest.mark.parametrize(("depth", "blocks"), [(50, (3, 4, 6, 3)), (101, (3, 4, 23, 3)), (152, (3, 8, 36, 3))])
def test_depths_and_kernels_over_time(depth, blocks):
    with torch.device("meta"):
        model = ResNet3D("i3d", 5, depth=depth, width=8)
    stages = [stage.res_blocks for stage in model.net.blocks if hasattr(stage, "res_blocks")]
    assert tuple(map(len, stages)) == blocks
    kernels = [[block.branch2.conv_a.kernel_size[0] for block in stage] for stage in stages]
    assert kernels[:2] == [[3] * 3, [3, 1] * (blocks[1] // 2)]
    assert kernels[3] == [1, 3, 1]


def test_settings_reach_the_model(tiny_cfg):
    tiny_cfg.MODEL.MODEL_NAME, tiny_cfg.MODEL.ARCH, tiny_cfg.RESNET.WIDTH_PER_GROUP = "ResNet", "slow", 16
    tiny_cfg.MODEL.DROPOUT_RATE, tiny_cfg.MODEL.FC_INIT_STD = 0.25, 1.0
    model = build_model(tiny_cfg)
    head = model.net.blocks[-1]
    assert (head.dropout.p, head.activation, head.proj.weight.shape) == (0.25, None, (20, 512))
    assert 0.95 < head.proj.weight.std() < 1.05
    assert head.proj.bias.abs().sum() == 0
    last = [block.branch2.norm_c for stage in model.net.blocks[1:-1] for block in stage.res_blocks]
    assert all(norm.weight.abs().sum() == 0 for norm in last)
    tiny_cfg.RESNET.ZERO_INIT_FINAL_BN = False
    model = build_model(tiny_cfg)
    assert all((m.weight == 1).all() for m in model.modules() if isinstance(m, nn.BatchNorm3d))


def test_torch_compile_sees_no_numpy_numbers():
    model = ResNet3D("c2d", **SMALL)
    assert {type(n) for m in model.modules() if isinstance(m, nn.Conv3d) for n in m.stride} == {int}


@pytest.mark.parametrize(
    "build", [lambda **kw: ResNet3D("i3d", **SMALL, **kw), lambda **kw: SlowFast(alpha=2, **SMALL, **kw)]
)
def test_activation_checkpoints_change_nothing(build):
    torch.manual_seed(0)
    plain = build(zero_init_final_bn=False)
    thrifty = build(act_checkpoint=True)
    thrifty.load_state_dict(plain.state_dict())
    clips = {"rgb": torch.rand(2, 3, 4, 32, 32)}
    kept = []
    for model in (plain, thrifty):
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, sizes=sizes: (sizes.append(x.numel()), x)[1], lambda x: x
        ):
            model(clips).logits.square().sum().backward()
        kept.append(sum(sizes))
    assert kept[1] < 0.5 * kept[0]
    state = thrifty.state_dict()
    # Running statistics and their counters, too: the batch is counted once.
    assert all(torch.equal(tensor, state[name]) for name, tensor in plain.state_dict().items())
    gradients = dict(thrifty.named_parameters())
    assert all(torch.equal(p.grad, gradients[name].grad) for name, p in plain.named_parameters())


def test_any_size_of_clip_and_the_fewest_frames():
    for arch, kernels in ARCHS.items():
        model = ResNet3D(arch, **SMALL).eval()
        for size in ((kernels.pool, 33, 65), (5, 16, 16)):
            assert model({"rgb": torch.rand(1, 3, *size)}).logits.isfinite().all()
        if kernels.pool > 1:
            with pytest.raises(UserError, match=rf"1 frame\(s\).*{arch} pools 2.*NUM_FRAMES to 2 or more"):
                model({"rgb": torch.rand(1, 3, 1, 32, 32)})


@pytest.mark.parametrize(
    ("arch", "options", "message"),
    [
        ("", {}, r"MODEL\.ARCH is ''; allowed .*: c2d, i3d, slow"),
        ("slow", {"depth": 18}, r"RESNET\.DEPTH is 18; allowed: 50, 101, 152"),
    ],
)
def test_unknown_nets_are_refused(arch, options, message):
    with pytest.raises(UserError, match=message):
        ResNet3D(arch, **SMALL, **options)


@pytest.mark.parametrize("broken", ["pytorchvideo.models", "pytorchvideo"])
def test_without_pytorchvideo_the_message_says_what_to_install(monkeypatch, broken):
    for name in [name for name in sys.modules if name.split(".")[0] == "pytorchvideo"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, broken, None)
    with pytest.raises(UserError, match=r"do not import \(.*pytorchvideo.*pip install pytorchvideo==0\.1\.5"):
        ResNet3D("slow", 5)


def test_a_function_that_pytorchvideo_does_not_have():
    with pytest.raises(UserError, match="create_nothing"):
        find_builder("create_nothing")


@pytest.mark.parametrize("arch", ["c2d", "i3d"])
def test_without_a_pool_all_frames_come_to_the_head(arch):
    clip = {"rgb": torch.rand(1, 3, 4, 32, 32)}
    frames = {}
    for name in (arch, f"{arch}_nopool"):
        model = ResNet3D(name, 3, width=8)
        model.net.blocks[-1].register_forward_pre_hook(lambda _, x, name=name: frames.update({name: x[0].shape[2]}))
        model(clip)
    assert frames == {arch: 2, f"{arch}_nopool": 4}


def test_some_blocks_of_a_stage_may_have_its_kernels():
    blocks = [(3, 1, 1)] * 6 + [(1, 1, 1)] * 17
    assert stage_kernels(((1,), (1,), (3,), (3,)), 101, (3, 4, 6, 3))[2] == blocks
    assert stage_kernels(((3, 1),) * 4, 50)[2] == [(3, 1, 1), (1, 1, 1)] * 3
    with pytest.raises(UserError, match=r"NUM_BLOCK_TEMP_KERNEL is \[3, 4, 24, 3\]; it must .* for RESNET\.DEPTH 101"):
        stage_kernels(((1,),) * 4, 101, (3, 4, 24, 3))
    for odd in (1.5, None, "3", [True]):
        with pytest.raises(UserError, match="must hold one number of blocks"):
            stage_kernels(((1,),) * 4, 50, [odd, 1, 1, 1])


@pytest.mark.parametrize(
    ("name", "arch", "opts", "built"),
    [
        ("PTVResNet", "slow", {"RESNET.NUM_BLOCK_TEMP_KERNEL": [[3], [4], [1], [3]]}, ("slow", 6, False)),
        ("ResNet", "slow", {"RESNET.NUM_BLOCK_TEMP_KERNEL": [[3], [4], [1], [3]]}, ("slow", 1, False)),
        ("ResNet_nopool", "c2d", {"MODEL.LOSS_FUNC": "bce_logit"}, ("c2d_nopool", 0, True)),
        ("ResNet", "c2d_nopool", {"MODEL.HEAD_ACT": "sigmoid"}, ("c2d_nopool", 0, True)),
        ("ResNet", "c2d", {"MODEL.LOSS_FUNC": "asl", "MODEL.HEAD_ACT": "softmax"}, ("c2d", 0, False)),
    ],
)
def test_pyslowfasts_names_and_the_heads_windows(tiny_cfg, name, arch, opts, built):
    tiny_cfg.MODEL.MODEL_NAME, tiny_cfg.MODEL.ARCH, tiny_cfg.RESNET.WIDTH_PER_GROUP = name, arch, 8
    tiny_cfg.DATA.TRAIN_CROP_SIZE = 208
    tiny_cfg.merge_from_list([part for item in opts.items() for part in item])
    MODELS[name].check(tiny_cfg)
    with torch.device("meta"):
        model = build_model(tiny_cfg)
    third = [stage.res_blocks for stage in model.net.blocks if hasattr(stage, "res_blocks")][2]
    kernels = sum(block.branch2.conv_a.kernel_size[0] > 1 for block in third)
    head = model.net.blocks[-1]
    assert (model.arch, kernels, head.output_pool.sigmoid, head.pool.window) == (*built, 7)


def test_blocks_of_another_net_are_refused(tiny_cfg):
    for name, arch, func, message in [
        ("ResNet", "slow", "x3d_transform", r"TRANS_FUNC is x3d_transform, which only MODEL\.MODEL_NAME X3D has"),
        ("X3D", "", "bottleneck_transform", r"TRANS_FUNC is bottleneck_transform, but .* X3D .* set x3d_transform"),
        ("ResNet_nopool", "slow", "bottleneck_transform", r"MODEL\.ARCH is 'slow_nopool'; allowed .* c2d, i3d, slow"),
    ]:
        tiny_cfg.MODEL.MODEL_NAME, tiny_cfg.MODEL.ARCH, tiny_cfg.RESNET.TRANS_FUNC = name, arch, func
        with pytest.raises(UserError, match=message):
            MODELS[name].check(tiny_cfg)
