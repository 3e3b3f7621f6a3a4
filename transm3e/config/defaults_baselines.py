"""Config keys of the baselines, their defaults and what they mean; PySlowFast's names mean here what they mean there."""

from __future__ import annotations

from fvcore.common.config import CfgNode


def add_baselines(cfg: CfgNode) -> None:
    """Add the groups of ResNets, SlowFast, VideoSwin and the graph models."""
    # C2D, I3D and Slow (MODEL_NAME ResNet, MODEL.ARCH) and both pathways of SlowFast: bottleneck ResNets.
    cfg.RESNET = CfgNode()
    # Layers: 50, 101 or 152.
    cfg.RESNET.DEPTH = 50
    # Channels of the stem.
    cfg.RESNET.WIDTH_PER_GROUP = 64
    # Blocks of each stage that have its temporal kernel, as [[3], [4], [6], [3]]; [] = all.
    cfg.RESNET.NUM_BLOCK_TEMP_KERNEL = []
    # The last batch norm of every residual block starts at 0, so that blocks start as their shortcuts.
    cfg.RESNET.ZERO_INIT_FINAL_BN = True

    # SlowFast (Feichtenhofer et al. 2019).
    cfg.SLOWFAST = CfgNode()
    # The fast pathway has ALPHA times the frames of the slow one, and 1 / BETA_INV of its channels.
    cfg.SLOWFAST.ALPHA = 8
    cfg.SLOWFAST.BETA_INV = 8
    # From fast to slow: channels in those of the fast pathway, and frames of the kernel.
    cfg.SLOWFAST.FUSION_CONV_CHANNEL_RATIO = 2
    cfg.SLOWFAST.FUSION_KERNEL_SZ = 5

    # Video Swin Transformer (Liu et al. 2022); sizes of VideoSwin-S.
    cfg.VIDEOSWIN = CfgNode()
    # Patches and windows (t, h, w); blocks and heads of each stage; width of the first.
    cfg.VIDEOSWIN.PATCH_SIZE = [2, 4, 4]
    cfg.VIDEOSWIN.EMBED_DIM = 96
    cfg.VIDEOSWIN.DEPTHS = [2, 2, 18, 2]
    cfg.VIDEOSWIN.NUM_HEADS = [3, 6, 12, 24]
    cfg.VIDEOSWIN.WINDOW_SIZE = [8, 7, 7]
    cfg.VIDEOSWIN.MLP_RATIO = 4.0
    # Of tokens and MLPs, of attention, and drop path rising linearly to this rate at the last block.
    cfg.VIDEOSWIN.DROPOUT_RATE = 0.0
    cfg.VIDEOSWIN.ATTENTION_DROPOUT_RATE = 0.0
    cfg.VIDEOSWIN.DROPPATH_RATE = 0.1

    # ST-GCN (Yan et al. 2018).
    cfg.STGCN = CfgNode()
    # Channels of the first block, here and below; they double twice.
    cfg.STGCN.WIDTH = 64
    # Which neighbours share weights: "uniform", "distance", "spatial", or "spatial_code" (as published weights have it).
    cfg.STGCN.PARTITION = "uniform"
    # Frames of the temporal convolutions' kernels, odd.
    cfg.STGCN.TEMPORAL_KERNEL = 9
    cfg.STGCN.DROPOUT = 0.0

    # CTR-GCN (Chen et al. 2021).
    cfg.CTRGCN = CfgNode()
    cfg.CTRGCN.WIDTH = 64
    # Frames of the temporal kernels, odd, and the dilations of the branches that have one.
    cfg.CTRGCN.TEMPORAL_KERNEL = 5
    cfg.CTRGCN.DILATIONS = [1, 2]
    # Channels that refine the topology: a block's input channels divided by this.
    cfg.CTRGCN.REDUCTION = 8
    cfg.CTRGCN.DROPOUT = 0.0

    # PoseNet, ours: an MLP on the mean and the spread of poses. DEPTH 0 is a logistic regression.
    cfg.POSENET = CfgNode()
    # Channels and number of the hidden layers; MODEL.DROPOUT_RATE is their dropout, INPUT_DROPOUT that of what they read.
    cfg.POSENET.WIDTH = 192
    cfg.POSENET.DEPTH = 2
    cfg.POSENET.INPUT_DROPOUT = 0.0

    # HD-GCN (Lee et al. 2023).
    cfg.HDGCN = CfgNode()
    cfg.HDGCN.WIDTH = 64
    cfg.HDGCN.TEMPORAL_KERNEL = 5
    cfg.HDGCN.DILATIONS = [1, 2]
    # Joint from which the hierarchy is counted, or two without their side, as hip; "" = the layout's own centre.
    cfg.HDGCN.CENTRE = ""
    # Attention over the levels of the hierarchy; False: their sum.
    cfg.HDGCN.ATTENTION = True
    cfg.HDGCN.DROPOUT = 0.0

    # ---------------------------------------------------------------- skeletons
    cfg.SKELETON = CfgNode()
    # Joints that a graph model reads: "coco17", "halpe26", "openpose18", "ntu25", "blazepose33", "body23" (COCO-17 with
    # heels, toes and index fingers, which may be missing). Files of another layout are turned into it.
    cfg.SKELETON.LAYOUT = "coco17"
    # Persons of a clip, those seen best; zeros where there are fewer.
    cfg.SKELETON.NUM_PERSONS = 2
    # Coordinates: "frame", -1 to 1 over the crop, or "body", from the first person's hips in torso lengths (in space also turned
    # to face the camera).
    cfg.SKELETON.NORMALIZE = "frame"
    # Joints as the camera sees them, "image", or in space, "world": metres from the hips, as BlazePose gives them.
    cfg.SKELETON.COORDINATES = "image"
