"""Settings that contradict each other are refused by name; probable mistakes get a warning."""

import logging

import pytest
import torch
from torch.nn.functional import max_pool1d

from transm3e.config import get_cfg
from transm3e.config.check import NUM_MUSCLES, check_cfg
from transm3e.config.node import merge_opts, set_key
from transm3e.config.schema import MAX_SEED, choices, get
from transm3e.data.annotations import MUSCLES
from transm3e.data.backends import BACKENDS
from transm3e.data.geometry import INTERPOLATIONS, RESIZINGS
from transm3e.distill.kl import AXES
from transm3e.errors import UserError
from transm3e.models.mvit import MViTBackbone
from transm3e.models.weights import SOURCES

SLOW = {"MODEL.MODEL_NAME": "ResNet", "MODEL.ARCH": "slow"}
CTRGCN = {"MODEL.MODEL_NAME": "CTRGCN", "DATA.MODALITY": "skeleton"}
STAGE_2 = {
    "TASK": "distill",
    "INIT.TEACHER_FROM": "teacher.pyth",
    "TRANSM3E.RECEIVERS": True,
    "TRANSM3E.FUSION": "mctf",
    "AUG.NUM_SAMPLE": 2,
}


def checked(settings):
    cfg = get_cfg()
    for key, value in settings.items():
        set_key(cfg, key, value, "test")
    check_cfg(cfg)
    return cfg


def refused(settings):
    with pytest.raises(UserError) as caught:
        checked(settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def warnings_of(settings, caplog):
    with caplog.at_level(logging.WARNING):
        checked(settings)
    return [record.getMessage() for record in caplog.records]


def test_the_defaults_and_both_stages_pass_without_a_warning(caplog):
    assert warnings_of({}, caplog) == []
    assert warnings_of(STAGE_2, caplog) == []


@pytest.mark.parametrize("key", ["MVIT.DIM_MUL", "MVIT.HEAD_MUL", "MVIT.POOL_Q_STRIDE"])
def test_a_block_has_one_entry_in_a_list(key):
    first, second = get(get_cfg(), key)[:2]
    assert refused({key: [first, second, first]}) == f"{key} names block {first[0]} twice; keep one of its entries"


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("step", range(1, 9))
def test_strides_of_q_that_pass_are_those_with_which_the_shortcut_fits_any_size(place, step):
    stride = [1, 1, 1]
    stride[place] = step
    settings = {"MVIT.POOL_Q_STRIDE": [[1, *stride]]}
    settings |= {"DATA.TRAIN_CROP_SIZE": 768, "DATA.TEST_CROP_SIZE": 768}
    sizes = range(step, 5 * step)
    pooled = [max_pool1d(torch.zeros(1, 1, n), step + 1, step, step // 2).shape[-1] if step > 1 else n for n in sizes]
    if pooled == [-(-n // step) for n in sizes]:
        checked(settings)
    else:
        assert f"gives block 1 the stride {stride}; each must be 1 or even" in refused(settings)


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"TEST.SPLITS": ["known_val", "unseen"]}, ["TEST.SPLITS names unseen", "new_test"]),
        ({"SHARD_ID": 2, "NUM_SHARDS": 2}, ["SHARD_ID is 2", "NUM_SHARDS - 1 = 1"]),
        ({"DEMO.ENABLE": True}, ["DEMO.INPUT_VIDEO is empty"]),
        ({"RNG_SEED": MAX_SEED + 1}, [f"RNG_SEED is {2**63}", "at most 2**63 - 1 = 9223372036854775807"]),
        ({"TEST.CHECKPOINT_SOURCE": "authors_teacher"}, ["TEST.CHECKPOINT_SOURCE is 'authors_teacher'", "authors"]),
        ({"TRAIN.CHECKPOINT_ALLOW": ["head.", ""]}, ["TRAIN.CHECKPOINT_ALLOW is ['head.', '']", "beginnings"]),
        ({"TRAIN.CHECKPOINT_ALLOW": [1]}, ["TRAIN.CHECKPOINT_ALLOW is [1]", "beginnings"]),
        ({"TRAIN.BATCH_SIZE": 6, "NUM_GPUS": 4}, ["TRAIN.BATCH_SIZE 6", "NUM_GPUS 4"]),
        ({"TRAIN.BATCH_SIZE": 6, "TRAIN.ACCUM_STEPS": 4}, ["TRAIN.BATCH_SIZE 6", "TRAIN.ACCUM_STEPS 4"]),
        ({"TEST.BATCH_SIZE": 6, "NUM_GPUS": 4}, ["TEST.BATCH_SIZE 6", "NUM_GPUS 4"]),
        ({"DATA.TEST_CROP_SIZE": 256}, ["DATA.TRAIN_CROP_SIZE 224", "DATA.TEST_CROP_SIZE 256"]),
        ({"MVIT.DEPTH": 10}, ["MVIT.POOL_Q_STRIDE names block 10", "MVIT.DEPTH 10"]),
        ({"MVIT.DIM_MUL": [[16, 2.0]]}, ["MVIT.DIM_MUL names block 16", "0 to 15"]),
        ({"MVIT.HEAD_MUL": [[1.5, 2.0]]}, ["MVIT.HEAD_MUL names block 1.5", "0 to 15"]),
        ({"MVIT.POOL_KVQ_KERNEL": [3, 4, 3]}, ["MVIT.POOL_KVQ_KERNEL is [3, 4, 3]", "odd"]),
        ({"MVIT.NUM_HEADS": 5}, ["block 0 has 5 heads and width 96", "MVIT.NUM_HEADS"]),
        ({"MVIT.HEAD_MUL": [[3, 5.0]]}, ["block 3 has 5 heads and width 384", "MVIT.HEAD_MUL"]),
        ({"MVIT.HEAD_MUL": [[2, 0.25]]}, ["block 2 has 0 heads", "MVIT.HEAD_MUL"]),
        ({"MCTF.MAPS": ["m_mm", "r_mm"]}, ["MCTF.MAPS names r_mm", "r_rr"]),
        ({"MCTF.MAPS": ["m_mm", "r_rr", "m_mm"]}, ["MCTF.MAPS", "once"]),
        ({"MCTF.MAPS": []}, ["MCTF.MAPS", "at least one map of m_mm"]),
        ({"SOLVER.BETAS": [0.9, 1.0]}, ["SOLVER.BETAS is [0.9, 1.0]", "below 1"]),
        ({"MVIT.DROPPATH_RATE": 1.0}, ["MVIT.DROPPATH_RATE is 1.0", "below 1"]),
        ({"MCTF.DROPPATH_RATE": 1.0}, ["MCTF.DROPPATH_RATE is 1.0", "below 1"]),
        ({"MIXUP.LABEL_SMOOTH_VALUE": 1.0}, ["MIXUP.LABEL_SMOOTH_VALUE is 1.0", "below 1"]),
        ({"SOLVER.MOMENTUM": 1.0}, ["SOLVER.MOMENTUM is 1.0", "below 1"]),
        ({"SOLVER.MOMENTUM": -0.1}, ["SOLVER.MOMENTUM is -0.1"]),
        ({"DATA.STD": [0.2, 0.0, 0.2]}, ["DATA.STD", "above 0"]),
        ({"DATA.TRAIN_JITTER_SCALES_RELATIVE": [0.0, 1.0]}, ["DATA.TRAIN_JITTER_SCALES_RELATIVE", "above 0"]),
        ({"DATA.TRAIN_JITTER_SCALES_RELATIVE": [0.5, 1.5]}, ["DATA.TRAIN_JITTER_SCALES_RELATIVE", "end at 1"]),
        ({"DATA.TRAIN_JITTER_ASPECT_RELATIVE": [2.0, 0.5]}, ["DATA.TRAIN_JITTER_ASPECT_RELATIVE", "swap"]),
        ({"MODEL.NUM_CLASSES": 5, "DATA.PATH_TO_DATA_DIR": "d"}, ["MODEL.NUM_CLASSES is 5", "20 muscles"]),
        (
            {"INIT.STUDENT_FROM": "a.pyth", "TRAIN.CHECKPOINT_FILE_PATH": "b.pyth"},
            ["INIT.STUDENT_FROM a.pyth", "TRAIN.CHECKPOINT_FILE_PATH b.pyth", "remove one"],
        ),
        ({"DATA.NUM_FRAMES": 7}, ["DATA.NUM_FRAMES 7", "MVIT.PATCH_STRIDE[0] 2"]),
        ({"MODEL.MODEL_NAME": "Random"}, ["MODEL.MODEL_NAME Random", "TRAIN.ENABLE False"]),
        ({"MODEL.MODEL_NAME": "ResNet"}, ["MODEL.ARCH is ''", "c2d, i3d, slow"]),
        ({**SLOW, "RESNET.DEPTH": 18}, ["RESNET.DEPTH is 18", "50, 101, 152"]),
        ({**SLOW, "RESNET.NUM_BLOCK_TEMP_KERNEL": [[3], [4], [7], [3]]}, ["NUM_BLOCK_TEMP_KERNEL is", "[6]"]),
        ({**SLOW, "RESNET.NUM_BLOCK_TEMP_KERNEL": [[[3]], [4], [6], [3]]}, ["NUM_BLOCK_TEMP_KERNEL is"]),
        ({**SLOW, "RESNET.NUM_BLOCK_TEMP_KERNEL": [3, 4, 6]}, ["NUM_BLOCK_TEMP_KERNEL is [3, 4, 6]"]),
        ({"MODEL.MODEL_NAME": "SlowFast", "DATA.NUM_FRAMES": 12}, ["12 frames", "SLOWFAST.ALPHA 8", "DATA.NUM_FRAMES"]),
        ({"MODEL.MODEL_NAME": "SlowFast", "RESNET.WIDTH_PER_GROUP": 12}, ["RESNET.WIDTH_PER_GROUP 12", "BETA_INV 8"]),
        ({"MODEL.MODEL_NAME": "SlowFast", "SLOWFAST.FUSION_KERNEL_SZ": 4}, ["FUSION_KERNEL_SZ is 4", "odd"]),
        ({"MODEL.MODEL_NAME": "VideoSwin", "VIDEOSWIN.DEPTHS": [2, 2]}, ["DEPTHS [2, 2]", "one number for each stage"]),
        ({"MODEL.MODEL_NAME": "VideoSwin", "VIDEOSWIN.EMBED_DIM": 50}, ["3 heads do not divide 50", "EMBED_DIM"]),
        ({"MODEL.MODEL_NAME": "VideoSwin", "VIDEOSWIN.NUM_HEADS": [3, 6, 12, 2.5]}, ["NUM_HEADS is", "whole numbers"]),
        ({"MODEL.MODEL_NAME": "PoseNet"}, ["DATA.MODALITY is rgb", "PoseNet reads skeleton;"]),
        ({**CTRGCN, "CTRGCN.WIDTH": 30}, ["CTRGCN.WIDTH is 30", "multiples of 4"]),
        ({**CTRGCN, "CTRGCN.DILATIONS": [1, 0]}, ["CTRGCN.DILATIONS is [1, 0]", "from 1"]),
        ({**CTRGCN, "CTRGCN.REDUCTION": 65}, ["CTRGCN.REDUCTION is 65", "1 to CTRGCN.WIDTH, which is 64"]),
        ({**CTRGCN, "MODEL.MODEL_NAME": "HDGCN", "HDGCN.CENTRE": "hop"}, ["HDGCN.CENTRE is 'hop'", "nose", "as hip"]),
        (
            {"DATA.MODALITY": "flow", "DEMO.ENABLE": True, "DEMO.INPUT_VIDEO": "a.mp4"},
            ["DEMO.ENABLE scores video files", "no flow"],
        ),
        (
            {"MODEL.LOSS_FUNC": "cross_entropy", "DATA.TARGET": "muscles"},
            ["LOSS_FUNC cross_entropy", "DATA.TARGET activity"],
        ),
        ({"TASK": "har_lookup"}, ["TASK har_lookup learns activities", "set MODEL.LOSS_FUNC cross_entropy"]),
        ({"TASK": "har_lookup", "MODEL.LOSS_FUNC": "cross_entropy", "DATA.TARGET": "activity"}, ["scored by muscles"]),
        ({"INIT.TEACHER_FROM": "a.pyth"}, ["INIT.TEACHER_FROM", "TASK distill"]),
        ({"TRANSM3E.RECEIVERS": True}, ["TRANSM3E.RECEIVERS is True", "TASK distill"]),
        ({"TRANSM3E.FUSION": "mctf"}, ["TRANSM3E.FUSION mctf", "TRANSM3E.RECEIVERS True"]),
        ({"TRANSM3E.FUSION": "concat"}, ["TRANSM3E.FUSION concat", "TRANSM3E.RECEIVERS True"]),
        ({"TRANSM3E.RECEIVERS": True, "TRANSM3E.FUSION": "sum"}, ["TRANSM3E.RECEIVERS is True", "TASK distill"]),
        (
            {"TRANSM3E.READOUT": "class_tokens", "TRANSM3E.NUM_MCTS": 5},
            ["TRANSM3E.READOUT class_tokens", "TRANSM3E.NUM_MCTS is 5", "MODEL.NUM_CLASSES 20", "READOUT mean"],
        ),
        ({**STAGE_2, "MODEL.MODEL_NAME": "MViT"}, ["MODEL.MODEL_NAME MViT", "set TransM3E"]),
        ({**STAGE_2, "TRANSM3E.RECEIVERS": False}, ["set TRANSM3E.RECEIVERS True"]),
        ({**STAGE_2, "INIT.TEACHER_FROM": ""}, ["set INIT.TEACHER_FROM"]),
        ({**STAGE_2, "AUG.NUM_SAMPLE": 1}, ["DISTILL.PAIR_CASE 3", "AUG.NUM_SAMPLE to 2"]),
        ({**STAGE_2, "AUG.NUM_SAMPLE": 3, "DISTILL.PAIR_CASE": 2}, ["DISTILL.PAIR_CASE 2", "it is 3"]),
        ({**STAGE_2, "AUG.NUM_SAMPLE": 3, "DISTILL.PAIR_CASE": 1}, ["AUG.NUM_SAMPLE is 3", "1 or 2 clips"]),
        ({**STAGE_2, "AUG.NUM_SAMPLE": 4, "DISTILL.PAIR_CASE": 4}, ["AUG.NUM_SAMPLE is 4", "1 or 2 clips"]),
        ({"DATA.MODALITY": "skeleton"}, ["DATA.MODALITY is skeleton", "MODEL.MODEL_NAME TransM3E reads rgb"]),
        ({"MODEL.MODEL_NAME": "STGCN"}, ["DATA.MODALITY is rgb", "MODEL.MODEL_NAME STGCN reads skeleton"]),
        ({"MODEL.MODEL_NAME": "TwoBranch", "DATA.MODALITY": "skeleton"}, ["DATA.MODALITY is skeleton", "TwoBranch"]),
        ({"MODEL.MODEL_NAME": "TwoBranch", "TWO_BRANCH.MODALITY": "skeleton"}, ["TWO_BRANCH.MODALITY is 'skeleton'"]),
        (
            {"MODEL.MODEL_NAME": "TwoBranch", "TWO_BRANCH.MODALITY": "rgb"},
            ["both branches see rgb", "TWO_BRANCH.MODALITY"],
        ),
        ({"MODEL.MODEL_NAME": "TwoBranch", "MVIT.NUM_HEADS": 5}, ["block 0 has 5 heads"]),
        ({"MODEL.MODEL_NAME": "DeiT", "MVIT.NUM_HEADS": 5}, ["block 0 has 5 heads"]),
        ({"MODEL.MODEL_NAME": "STGCN", "DATA.MODALITY": "skeleton", "MIXUP.ENABLE": True}, ["MIXUP.ENABLE", "joints"]),
        (
            {"MODEL.MODEL_NAME": "STGCN", "DATA.MODALITY": "skeleton", "STGCN.TEMPORAL_KERNEL": 4},
            ["STGCN.TEMPORAL_KERNEL is 4", "odd"],
        ),
        ({"AUG.SAMPLE_DISTANCE": -2}, ["AUG.SAMPLE_DISTANCE is -2", "-1 (anywhere)"]),
        ({"DATA.DECODING_BACKEND": "torchcodec_cuda"}, ["DATA_LOADER.NUM_WORKERS 0 (it is 2)"]),
        ({**STAGE_2, "DISTILL.MODALITY": "rgb"}, ["both see rgb", "DATA.MODALITY", "DISTILL.MODALITY"]),
    ],
)
def test_a_contradiction_is_refused_with_its_keys(settings, parts):
    message = refused(settings)
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    "settings",
    [
        {"MODEL.MODEL_NAME": "AllOnes", "TRAIN.ENABLE": False, "DATA.TEST_CROP_SIZE": 256},
        {**SLOW, "RESNET.NUM_BLOCK_TEMP_KERNEL": [[3, 3], [4, 4], [6, 6], [3, 3]], "RESNET.DEPTH": 101},
        {**CTRGCN, "MODEL.MODEL_NAME": "HDGCN", "HDGCN.CENTRE": "hip"},
        {"MODEL.NUM_CLASSES": 400, "DATA.PATH_TO_DATA_DIR": "d", "MODEL.LOSS_FUNC": "soft_cross_entropy"},
        {**STAGE_2, "AUG.NUM_SAMPLE": 1, "DISTILL.PAIR_CASE": 1},
        {**STAGE_2, "AUG.NUM_SAMPLE": 2, "DISTILL.PAIR_CASE": 4},
        {"AUG.NUM_SAMPLE": 3},
        {"MODEL.MODEL_NAME": "STGCN", "DATA.MODALITY": "skeleton_bone"},
        {"MODEL.MODEL_NAME": "TwoBranch", "DATA.MODALITY": "flow", "TWO_BRANCH.MODALITY": "rgb"},
        {"MODEL.MODEL_NAME": "AllOnes", "DATA.MODALITY": "skeleton", "TRAIN.ENABLE": False},
        {"DATA.DECODING_BACKEND": "torchcodec_cuda", "DATA_LOADER.NUM_WORKERS": 0},
        {"RNG_SEED": MAX_SEED},
        {"AUG.COLOR_JITTER": 0.0, "SOLVER.COSINE_END_LR": 0.0, "SOLVER.WARMUP_START_LR": 0.0, "DISTILL.WEIGHT": 0.0},
        {**STAGE_2, "INIT.TEACHER_FROM": "", "TRAIN.ENABLE": False},
        {"TRANSM3E.RECEIVERS": True, "TRANSM3E.FUSION": "mctf"},
        {"TRANSM3E.RECEIVERS": True, "TRAIN.ENABLE": False},
        {"TEST.VIEWS_FROM": "start", "TEST.NUM_ENSEMBLE_VIEWS": 1},
        {"SOLVER.EARLY_STOP": 3, "TRAIN.ENABLE": False, "TEST.SPLITS": ["new_test"]},
        {"TRAIN.CHECKPOINT_FILE_PATH": "w.pyth", "TRAIN.CHECKPOINT_ALLOW": ["head."]},
        {"TRAIN.CHECKPOINT_SOURCE": "authors_teacher"},
        {"MCTF.NUM_HEADS": 5},
        {**STAGE_2, "MCTF.MAPS": ["m_mm", "m_rm"]},
        {"TRANSM3E.READOUT": "class_tokens"},
        {**STAGE_2, "TRANSM3E.READOUT": "class_tokens", "TRANSM3E.FUSION": "bottleneck"},
        {"MODEL.MODEL_NAME": "MViT", "TRANSM3E.READOUT": "class_tokens", "TRANSM3E.NUM_MCTS": 5},
        {**STAGE_2, "MCTF.MAPS": ["r_rr", "m_mm"]},
        {"MODEL.NUM_CLASSES": 5, "DATA.PATH_TO_DATA_DIR": "d", "TRAIN.ENABLE": False, "TEST.ENABLE": False},
        {"DATA.TRAIN_CROP_SIZE": 256, "DATA.TEST_CROP_SIZE": 256, "NUM_GPUS": 0},
        # Sizes belong to the MViT backbone, not to other models.
        {"MODEL.MODEL_NAME": "ResNet", "MODEL.ARCH": "slow", "DATA.TEST_CROP_SIZE": 250, "DATA.NUM_FRAMES": 7},
    ],
)
def test_what_does_not_contradict_passes(settings):
    checked(settings)


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"SOLVER.WARMUP_EPOCHS": 30.0}, ["SOLVER.WARMUP_EPOCHS 30", "SOLVER.MAX_EPOCH 10"]),
        ({"SOLVER.MAX_EPOCH": 1}, ["SOLVER.WARMUP_EPOCHS 1 is not shorter than SOLVER.MAX_EPOCH 1", "0 (none)"]),
        ({"MODEL.NUM_CLASSES": 400}, ["MODEL.NUM_CLASSES is 400", "20 muscles"]),
        ({**STAGE_2, "MCTF.NUM_HEADS": 5}, ["MCTF.NUM_HEADS 5 does not divide 768", "154 wide, all together 770"]),
        (
            {**STAGE_2, "TRANSM3E.NUM_MCTS": 1},
            ["DISTILL.AXIS token", "TRANSM3E.NUM_MCTS is 1", "always 0", "AXIS channel"],
        ),
        ({"DATA.FRAME_INDICES": "segments", "AUG.ENABLE": True, "AUG.PAUSES": 0.1}, ["AUG.PAUSES have no effect"]),
        ({"TEST.VIEWS_FROM": "start"}, ["TEST.NUM_ENSEMBLE_VIEWS 5", "one view", "NUM_ENSEMBLE_VIEWS 1 or VIEWS_FROM"]),
        ({"SOLVER.COSINE_END_LR": 1.0}, ["SOLVER.COSINE_END_LR 1", "the learning rate rises"]),
        (
            {"SOLVER.BASE_LR": 0.002, "SOLVER.BASE_LR_SCALE_NUM_SHARDS": True, "NUM_SHARDS": 4},
            ["BASE_LR_SCALE_NUM_SHARDS makes the learning rate 0.008"],
        ),
        ({"DATA.DECODING_BACKEND": "torchvision"}, ["DATA.DECODING_BACKEND torchvision", "pyav decodes"]),
        ({"TRAIN.MIXED_PRECISION": True, "NUM_GPUS": 0}, ["TRAIN.MIXED_PRECISION on a CPU"]),
    ],
)
def test_a_probable_mistake_gives_one_warning(settings, parts, caplog):
    [warning] = warnings_of(settings, caplog)
    assert all(part in warning for part in parts), warning


def test_no_warning_of_a_warm_up_where_nothing_is_trained(caplog):
    assert warnings_of({"SOLVER.WARMUP_EPOCHS": 30.0, "TRAIN.ENABLE": False}, caplog) == []


def test_no_warning_of_a_decoder_that_the_protocol_names(caplog):
    assert warnings_of({"PROTOCOL": "pyslowfast", "DATA.DECODING_BACKEND": "torchvision"}, caplog) == []


def test_every_allowed_value_is_built_somewhere():
    assert len(MUSCLES) == NUM_MUSCLES
    assert set(choices("DATA.RESIZE")) == set(RESIZINGS)
    assert set(choices("AUG.INTERPOLATION")) == set(INTERPOLATIONS)
    assert set(choices("DISTILL.AXIS")) == set(AXES)
    assert set(choices("TRAIN.CHECKPOINT_SOURCE")) == {"auto", *SOURCES}
    assert set(choices("DATA.DECODING_BACKEND")) == {"pyav", "torchvision", *BACKENDS}


@pytest.mark.parametrize("embed_dim", [20, 32, 45, 50])
@pytest.mark.parametrize("heads", [1, 2, 5])
@pytest.mark.parametrize(("dim_mul", "head_mul"), [(2.0, 2.0), (1.5, 1.5), (0.7, 2.5), (1.1, 0.3)])
def test_heads_that_pass_are_those_with_which_the_backbone_is_built(embed_dim, heads, dim_mul, head_mul):
    sizes = {"DEPTH": 2, "EMBED_DIM": embed_dim, "NUM_HEADS": heads, "POOL_Q_STRIDE": []}
    settings = {f"MVIT.{key}": value for key, value in sizes.items()}
    settings |= {"MVIT.DIM_MUL": [[1, dim_mul]], "MVIT.HEAD_MUL": [[1, head_mul]]}
    dim, heads_1 = round(embed_dim * dim_mul), round(heads * head_mul)
    if embed_dim % heads or not heads_1 or dim % heads_1:
        assert "heads must divide the width" in refused(settings)
        return
    with torch.device("meta"):
        backbone = MViTBackbone.from_cfg(checked(settings))
    assert backbone.dim_out == dim
    assert [block.attn.num_heads for block in backbone.blocks] == [heads, heads_1]


def test_synchronised_batch_norms_need_gpus():
    cfg = get_cfg()
    merge_opts(cfg, ["BN.NORM_TYPE", "sync_batchnorm", "NUM_GPUS", 0])
    with pytest.raises(
        UserError, match=r"BN\.NORM_TYPE sync_batchnorm needs GPUs, but NUM_GPUS is 0; set NORM_TYPE batchnorm"
    ):
        check_cfg(cfg)
    merge_opts(cfg, ["NUM_GPUS", 2])
    check_cfg(cfg)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["TRAIN.COMPILE", True], r"TRAIN\.FSDP and TRAIN\.COMPILE cannot be combined; set one of them False"),
        (["BN.NORM_TYPE", "sync_batchnorm"], r"TRAIN\.FSDP and BN\.NORM_TYPE sync_batchnorm cannot be combined; set"),
    ],
)
def test_what_does_not_go_with_shards(options, message):
    cfg = get_cfg()
    merge_opts(cfg, ["TRAIN.FSDP", True, *options])
    with pytest.raises(UserError, match=message):
        check_cfg(cfg)
    # Only training has shards.
    merge_opts(cfg, ["TRAIN.ENABLE", False])
    check_cfg(cfg)
