# fmt: off
"""Keys of models, losses, distillation and HAR lookup.

A table, kept from the formatter: name, default, meaning, then allowed values and other facts of each key, see
transm3e.config.schema.key. Keys that PySlowFast also has mean the same here.
"""

from __future__ import annotations

import math

from transm3e.config.schema import (
    ABOVE_0,
    BELOW_1,
    COUNT,
    DEPTH,
    NETWORK,
    NOT_NEGATIVE,
    PLACE,
    RESULTS,
    SCORES,
    SHARE,
    TRAINING,
    Authors,
    Rule,
    among,
    beginnings,
    by_block,
    group,
    key,
    numbers,
    one_of,
    registered,
)
from transm3e.modalities import PIXELS, names_of

MAPS = ("m_mm", "m_mr", "m_rm", "r_rr", "r_mr", "r_rm")


def _maps(names: list) -> str:
    unknown = [name for name in names if name not in MAPS]
    if unknown:
        return f"names {', '.join(map(str, unknown))}; allowed: {', '.join(MAPS)}"
    if len(set(names)) < len(names):
        return f"is {names}; it must name each map once, remove the repeated ones"
    return "" if names else f"is {names}; it must name at least one map of {', '.join(MAPS)}: add one"


def _pos_weight(weights: list) -> str:
    good = weights == ["balanced"] or all(type(each) in (int, float) and 0 < each < math.inf for each in weights)
    return "" if good else f"is {weights}; it must be [], [balanced], or numbers above 0"


group("MODEL", "the model")
key("MODEL.MODEL_NAME", "TransM3E",
    "Model to build.", registered("MODEL.MODEL_NAME"), NETWORK, compared=("tokens",), theirs="SlowFast")
key("MODEL.ARCH", "",
    "Variant of MODEL_NAME ResNet: c2d, i3d, slow, c2d_nopool or i3d_nopool; no effect on other models.",
    role=NETWORK, of_model=True, theirs="slowfast")
key("MODEL.NUM_CLASSES", 20,
    "Number of classes: 20 muscle regions, or the number of activities (DATA.TARGET activity, TASK har_lookup).",
    COUNT, NETWORK, compared=("logits",), theirs=400)
key("MODEL.LOSS_FUNC", "bce_softmax", "Classification loss.", registered("MODEL.LOSS_FUNC"), SCORES, theirs="cross_entropy")
key("MODEL.HEAD_ACT", "auto",
    "How logits become scores in evaluation; auto: as MODEL.LOSS_FUNC was trained.",
    one_of("auto", "softmax", "sigmoid"), SCORES, theirs="softmax", new=True)
key("MODEL.FROZEN_BN", False,
    "Keep the running statistics of batch norms as they are at the start and normalise by them in training, too; their "
    "scales and shifts are trained.", new=True)
key("MODEL.DROPOUT_RATE", 0.0, "Dropout rate before the last linear layer.", SHARE, scaled=True, theirs=0.5)
key("MODEL.FC_INIT_STD", 0.01,
    "Standard deviation of the last linear layer's initial weights in ResNet and SlowFast.", NOT_NEGATIVE)
key("MODEL.ACT_CHECKPOINT", False,
    "Activation checkpointing: recompute each block's activations in the backward pass instead of keeping them. Less "
    "memory, about a third more time, the same result.", role=PLACE, inherited=True)

key("MODEL.FREEZE", [],
    'Beginnings of names of parameters that are not trained, as "backbone.patch_embed"; batch norms below them normalise by '
    'their running statistics. "not NAME" exempts parameters; alone it freezes all others, so that [not head] is a linear '
    "probe. Dropout and drop path stay active.",
    Rule("beginnings of parameter names", beginnings), new=True)
key("MODEL.POS_WEIGHT", [],
    "Weights of positive labels in MODEL.LOSS_FUNC bce_softmax and bce_logits, one for each class, or one for all; "
    "[balanced]: number of the training clips without the class / number with it; [] = 1.",
    Rule("[], [balanced], or numbers above 0", _pos_weight), new=True)

group("ASL", "MODEL.LOSS_FUNC asl, the asymmetric loss (Ridnik et al. 2021)")
key("ASL.GAMMA_NEG", 4.0, "Focusing exponent of negatives.", NOT_NEGATIVE, new=True)
key("ASL.GAMMA_POS", 1.0, "Focusing exponent of positives.", NOT_NEGATIVE, new=True)
key("ASL.CLIP", 0.05, "Margin subtracted from the probability of negatives.", SHARE, new=True)

group("BN")
key("BN.NORM_TYPE", "batchnorm",
    "Batch norm statistics are those of the clips on one GPU (batchnorm) or on all GPUs (sync_batchnorm, slower).",
    one_of("batchnorm", "sync_batchnorm"))
key("BN.USE_PRECISE_STATS", False,
    "Before each validation and checkpoint of an epoch, replace the running statistics of batch norms by the means over "
    "NUM_BATCHES_PRECISE training batches.", new=True)
key("BN.NUM_BATCHES_PRECISE", 200, "For USE_PRECISE_STATS: number of batches, at most an epoch's.", COUNT, new=True)
key("BN.WEIGHT_DECAY", 0.0,
    "Weight decay of the scales and shifts of batch norms, whatever SOLVER.ZERO_WD_1D_PARAM says.", NOT_NEGATIVE, new=True)

group("MVIT", "the MViTv2 backbone; the defaults are MViTv2-S", role=NETWORK, of_model=True, scaled=True)
key("MVIT.PATCH_KERNEL", [3, 7, 7], "Kernel of the patch embedding (t, h, w).", numbers(3, least=1, whole=True))
key("MVIT.PATCH_STRIDE", [2, 4, 4], "Stride of the patch embedding (t, h, w).", numbers(3, least=1, whole=True))
key("MVIT.PATCH_PADDING", [1, 3, 3], "Padding of the patch embedding (t, h, w).", numbers(3, whole=True), theirs=[2, 4, 4])
key("MVIT.EMBED_DIM", 96, "Width of the first block.", COUNT, compared=("tokens",))
key("MVIT.NUM_HEADS", 1, "Attention heads of the first block.", COUNT)
key("MVIT.DEPTH", 16, "Number of blocks.", DEPTH, compared=("tokens",))
key("MVIT.MLP_RATIO", 4.0, "Hidden width of the MLP, as a multiple of the block's width.", ABOVE_0)
key("MVIT.QKV_BIAS", True, "The q, k and v projections have biases.")
key("MVIT.INIT", "torchvision",
    "Initial weights. torchvision: linear layers from N(0, 0.02), biases and norms' shifts 0, convolutions PyTorch's; "
    "pyslowfast: linear layers and all convolutions from N(0, 0.02), biases of linear layers and norms' shifts 0.02.",
    one_of("torchvision", "pyslowfast"), TRAINING, theirs="pyslowfast", new=True, scaled=False)
key("MVIT.DROPOUT_RATE", 0.0, "Dropout rate of tokens: before the first block, after attention's projection and in MLPs.",
    SHARE, TRAINING)
key("MVIT.DROPPATH_RATE", 0.2,
    "Drop path rate of the last block; it rises linearly from 0 at the first.", BELOW_1, TRAINING, theirs=0.1)
key("MVIT.ZERO_DECAY_POS_CLS", False,
    "Apply no weight decay to relative positions and class tokens.", role=TRAINING, theirs=True, new=True)
key("MVIT.DIM_MUL", [[1, 2.0], [3, 2.0], [14, 2.0]],
    "[block, factor] entries: from this block on (counted from 0) the width is multiplied by the factor.",
    by_block(2), compared=("tokens",), theirs=[])
key("MVIT.HEAD_MUL", [[1, 2.0], [3, 2.0], [14, 2.0]],
    "[block, factor] entries: from this block on (counted from 0) the number of heads is multiplied by the "
    "factor.", by_block(2), theirs=[])
key("MVIT.POOL_KVQ_KERNEL", [3, 3, 3],
    "Kernel of the pooling convolutions of q, k and v (t, h, w), odd.", numbers(3, least=1, whole=True), theirs=None)
key("MVIT.POOL_Q_STRIDE", [[block, 1, 2, 2] if block in (1, 3, 14) else [block, 1, 1, 1] for block in range(16)],
    "[block, t, h, w] entries: stride with which a block pools q; blocks without an entry do not pool q.",
    by_block(4, whole=True), theirs=[])
key("MVIT.POOL_KV_STRIDE_ADAPTIVE", [1, 8, 8],
    "Stride (t, h, w) with which the first block pools k and v; each stride of q divides it from there on (1 at "
    "least).", numbers(3, least=1, whole=True), theirs=None)

group("TRANSM3E", "TransM3E on top of the MViTv2 backbone (paper, section 4)", role=NETWORK, of_model=True)
key("TRANSM3E.NUM_MCTS", 20,
    "Number of MCTs, the multi-classification tokens (table 10: best is one per muscle region).", COUNT, compared=("tokens",))
key("TRANSM3E.RECEIVERS", False,
    "Add receivers: as many further tokens of the student, which learn from the teacher's MCTs (the senders).",
    may_change=True)
key("TRANSM3E.RECEIVER_INIT", "normal",
    "Initial values of receivers. normal: drawn like the MCTs; zeros: as in the authors' code, so all receivers start equal.",
    one_of("normal", "zeros"), TRAINING,
    authors=Authors("zeros", "section 4, receivers are MCTs; the code's start as zeros"))
key("TRANSM3E.FUSION", "mean",
    "How MCTs and receivers are fused. mctf: the paper's block; mean: their average, the paper's ablation without MCTF; "
    "others: table 5.",
    registered("TRANSM3E.FUSION"), may_change=True)
key("TRANSM3E.READOUT", "mean",
    "How logits are computed from the tokens. mean: a linear layer on their mean; class_tokens: the logit of class i is "
    "token i averaged over its channels, without last norm and linear layer (MCT of Xu et al., tables 3 and 9).",
    one_of("mean", "class_tokens"))

group("MCTF", "the token fusion block (equations 2 to 7); NUM_HEADS, QKV_BIAS, DROPOUT, DROPPATH_RATE and MLP_RATIO also "
      "apply to the other fusions by attention", role=NETWORK, of_model=True, may_change=True)
key("MCTF.NUM_HEADS", 1,
    "Number of heads. If they do not divide the width, a head's width is rounded up (table 11: 5 heads of 154 for "
    "768).", COUNT)
key("MCTF.SCALE", 0.8,
    "Factor on the product of q and k (0.8 in section D.3); 0 = head_dim^-0.5, as in the authors' code.", NOT_NEGATIVE,
    authors=Authors(0.0, "D.3; the code takes head_dim^-0.5"))
key("MCTF.QKV_BIAS", True, "The q, k and v projections have biases.",
    authors=Authors(False, "D.3 on the backbone; the code's q, k, v of MCTF have none"))
key("MCTF.AUTHORS_VIEW", False,
    "Attention as in the authors' code, needed for their checkpoints: the number of heads changes the scale only, and "
    "the result of a map is transposed and reshaped, which mixes tokens with channels.",
    authors=Authors(True, "equations 2 to 4; the code reads the transposed result in another shape"))
key("MCTF.DROPOUT", 0.0, "Dropout rate after attention.", SHARE, TRAINING)
key("MCTF.DROPPATH_RATE", 0.2, "Drop path rate.", BELOW_1, TRAINING)
key("MCTF.MLP_RATIO", 1.0, "Hidden width of the MLP, as a multiple of the tokens' width.", ABOVE_0)
key("MCTF.MAPS", list(MAPS),
    "Which of the six attention maps are summed (table 12); a name gives stream, query and key: m_mr is A^m_mr.",
    Rule(f"at least one of {', '.join(MAPS)}", _maps, lambda: MAPS))

group("TWO_BRANCH", "MODEL_NAME TwoBranch (table 6): MViT on two modalities, both read in training and at test time",
      role=NETWORK, of_model=True)
key("TWO_BRANCH.MODALITY", "rgb_diff", "Second modality; DATA.MODALITY is the first.", among(lambda: names_of(PIXELS)))
key("TWO_BRANCH.FUSION", "late_sum",
    "How the modalities are fused. Two branches: scores are averaged (late_sum) or multiplied (late_mul); class tokens "
    "are concatenated (late_concat), attend to the other branch's tokens (cross_attention) or to those of both (mixed). "
    "One backbone: the two patch embeddings are added, concatenated or multiplied (pe_sum, pe_concat, pe_mul).",
    registered("TWO_BRANCH.FUSION"))

group("RESNET", "C2D, I3D and Slow (MODEL_NAME ResNet, MODEL.ARCH) and both pathways of SlowFast: bottleneck ResNets",
      role=NETWORK, of_model=True, scaled=True)
key("RESNET.DEPTH", 50, "Number of layers: 50, 101 or 152.")
key("RESNET.WIDTH_PER_GROUP", 64, "Channels of the stem (64 is the published size).", COUNT)
key("RESNET.NUM_BLOCK_TEMP_KERNEL", [],
    "Number of blocks of each stage that have the stage's temporal kernel, as [[3], [4], [6], [3]], in SlowFast also one for "
    "each pathway, as [[3, 3], [4, 4], [6, 23], [3, 3]]; [] = all.",
    theirs=[[3], [4], [6], [3]])
key("RESNET.TRANS_FUNC", "bottleneck_transform", "Residual blocks: x3d_transform for X3D, the other for all others.",
    one_of("bottleneck_transform", "x3d_transform"), new=True)
key("RESNET.ZERO_INIT_FINAL_BN", True,
    "Initialise the last batch norm of each residual block with scale 0, so that the block starts as its shortcut.",
    role=TRAINING, theirs=False)

group("SLOWFAST", "SlowFast (Feichtenhofer et al. 2019)", role=NETWORK, of_model=True, scaled=True)
key("SLOWFAST.ALPHA", 8, "Frames of the fast pathway per frame of the slow one.", COUNT)
key("SLOWFAST.BETA_INV", 8, "Channels of the slow pathway per channel of the fast one.", COUNT)
key("SLOWFAST.FUSION_CONV_CHANNEL_RATIO", 2,
    "Lateral connections: output channels, as a multiple of the fast pathway's.", COUNT)
key("SLOWFAST.FUSION_KERNEL_SZ", 5, "Lateral connections: kernel size in frames, odd.", COUNT)

group("X3D", "X3D (Feichtenhofer 2020); the defaults are X3D-M, 16 frames", role=NETWORK, of_model=True, scaled=True)
key("X3D.WIDTH_FACTOR", 2.0, "Factor on the channels of all stages.", ABOVE_0, theirs=1.0, new=True)
key("X3D.DEPTH_FACTOR", 2.2, "Factor on the numbers of blocks, 1, 2, 5 and 3 (XS, S and M: 2.2; L: 5).", ABOVE_0, theirs=1.0,
    new=True)
key("X3D.BOTTLENECK_FACTOR", 2.25, "Channels inside a block, as a multiple of its output's.", ABOVE_0, theirs=1.0, new=True)
key("X3D.DIM_C1", 12, "Channels of the stem, before WIDTH_FACTOR.", COUNT, new=True)
key("X3D.DIM_C5", 2048, "Channels before the last linear layer.", COUNT, new=True)
key("X3D.BN_LIN5", False, "Batch norm before the last linear layer.", new=True)

group("VIDEOSWIN", "Video Swin Transformer (Liu et al. 2022); the defaults are VideoSwin-S",
      role=NETWORK, of_model=True, scaled=True)
key("VIDEOSWIN.PATCH_SIZE", [2, 4, 4], "Size of a patch (t, h, w) in frames and pixels.", numbers(3, least=1, whole=True))
key("VIDEOSWIN.EMBED_DIM", 96, "Width of the first stage; it doubles from stage to stage.", COUNT)
key("VIDEOSWIN.DEPTHS", [2, 2, 18, 2], "Number of blocks of each stage.")
key("VIDEOSWIN.NUM_HEADS", [3, 6, 12, 24], "Number of attention heads of each stage.")
key("VIDEOSWIN.WINDOW_SIZE", [8, 7, 7], "Size of an attention window (t, h, w) in patches.", numbers(3, least=1, whole=True))
key("VIDEOSWIN.MLP_RATIO", 4.0, "Hidden width of the MLP, as a multiple of the block's width.", ABOVE_0)
key("VIDEOSWIN.DROPOUT_RATE", 0.0, "Dropout rate of tokens, attention outputs and MLPs.", SHARE, TRAINING)
key("VIDEOSWIN.ATTENTION_DROPOUT_RATE", 0.0, "Dropout rate of attention weights.", SHARE, TRAINING)
key("VIDEOSWIN.DROPPATH_RATE", 0.1,
    "Drop path rate of the last block; it rises linearly from 0 at the first.", SHARE, TRAINING)

group("STGCN", "ST-GCN (Yan et al. 2018)", role=NETWORK, of_model=True, scaled=True)
key("STGCN.WIDTH", 64, "Channels of the first block; they double twice.", COUNT)
key("STGCN.PARTITION", "uniform",
    "Which neighbours of a joint share weights: partition strategies of the paper; spatial_code: as in the authors' code and "
    "published weights.",
    one_of("uniform", "distance", "spatial", "spatial_code"))
key("STGCN.TEMPORAL_KERNEL", 9, "Kernel size of the temporal convolutions in frames, odd.", COUNT)
key("STGCN.DROPOUT", 0.0, "Dropout rate in every block but the first.", SHARE, TRAINING)

group("CTRGCN", "CTR-GCN (Chen et al. 2021)", role=NETWORK, of_model=True, scaled=True)
key("CTRGCN.WIDTH", 64, "Channels of the first block; they double twice.", COUNT)
key("CTRGCN.TEMPORAL_KERNEL", 5, "Kernel size of the temporal convolutions in frames, odd.", COUNT)
key("CTRGCN.DILATIONS", [1, 2], "Dilations of the temporal convolutions in frames, one branch each.")
key("CTRGCN.REDUCTION", 8, "The topology is refined from a block's input channels divided by this.", COUNT)
key("CTRGCN.PYSKL", False,
    "Blocks as in PYSKL and MMAction2, needed for weights trained there: the refined topology is applied transposed, and a "
    "ReLU follows the temporal convolutions.", new=True)
key("CTRGCN.DROPOUT", 0.0, "Dropout rate in every block but the first.", SHARE, TRAINING)

group("POSENET", "PoseNet, our own: an MLP on the mean and standard deviation of poses over time",
      role=NETWORK, of_model=True, scaled=True)
key("POSENET.WIDTH", 192, "Width of the hidden layers; MODEL.DROPOUT_RATE is their dropout rate.", COUNT)
key("POSENET.DEPTH", 2, "Number of hidden layers; 0 = logistic regression.", NOT_NEGATIVE)
key("POSENET.INPUT_DROPOUT", 0.0, "Dropout rate of the MLP's input.", SHARE, TRAINING)

group("HDGCN", "HD-GCN (Lee et al. 2023)", role=NETWORK, of_model=True, scaled=True)
key("HDGCN.WIDTH", 64, "Channels of the first block; they double twice.", COUNT)
key("HDGCN.TEMPORAL_KERNEL", 5, "Kernel size of the temporal convolutions in frames, odd.", COUNT)
key("HDGCN.DILATIONS", [1, 2], "Dilations of the temporal convolutions in frames, one branch each.")
key("HDGCN.CENTRE", "",
    'Joint at the centre of the hierarchy, or a left and right pair named without its side, as hip; "" = the '
    'layout\'s centre.')
key("HDGCN.ATTENTION", True, "Weigh the levels of the hierarchy by attention; False: sum them.")
key("HDGCN.DROPOUT", 0.0, "Dropout rate in every block but the first.", SHARE, TRAINING)

group("LOOKUP", "TASK har_lookup: the model learns activities; a clip's muscles are those its activity has in the train "
      "split (section C.1, table 8)", role=RESULTS)
key("LOOKUP.MUSCLES", "predicted",
    "Muscle scores of the final evaluation. predicted: the muscles of the most probable activity (the paper); expected: "
    "the mean over activities, weighted by their probabilities. Validation during training uses predicted.",
    one_of("predicted", "expected"))

group("DISTILL", "distillation (equation 1, tables 4 and 6)")
key("DISTILL.METHOD", "mctkd",
    "What learns from the teacher. mctkd: the receivers, from its MCTs; kd: the student's MCTs, from its MCTs; logits: the "
    "student's logits, from its logits (any two models; Hinton et al.); deit: the distillation head of MODEL_NAME DeiT, "
    "from its logits.",
    registered("DISTILL.METHOD"))
key("DISTILL.MODALITY", "rgb_diff", "Modality that the teacher reads.", among(lambda: names_of(PIXELS)))
key("DISTILL.POSITION", "dense",
    "mctkd and kd: where tokens are compared. dense: after every block; sparse: after each block whose MVIT.POOL_Q_STRIDE "
    "reduces the patches and after the last block; final: after the last block; patch_embed: before the first block.",
    one_of("dense", "sparse", "final", "patch_embed"))
key("DISTILL.AXIS", "token",
    "mctkd and kd: axis of the softmax over a block's tokens. token, channel, full: TW, CW and FP of table 4.",
    one_of("token", "channel", "full"))
key("DISTILL.TEMPERATURE", 10.0, "Temperature of the KL divergence.", ABOVE_0)
key("DISTILL.ALPHA", 0.9, "The KL divergence is multiplied by ALPHA * TEMPERATURE^2.", NOT_NEGATIVE)
key("DISTILL.REDUCTION", "mean",
    "What the sum of the KL divergence is divided by. mean: the number of elements; batchmean: the number of "
    "clips.", one_of("mean", "batchmean"))
key("DISTILL.CENTRE", False,
    "mctkd and kd: subtract from the teacher's tokens their mean over all clips seen so far.", new=True)
key("DISTILL.NUM_BLOCKS", 0,
    "With POSITION dense, the number that the sum over the blocks is divided by; 0 = the number of blocks, which gives the "
    "mean (the authors' code divides by 16, for 24 blocks too). Other POSITIONs always take the mean.", NOT_NEGATIVE,
    authors=Authors(16, "equation 1, mean over the blocks; the code divides by 16 for 24 blocks too"))
key("DISTILL.TEACHER_DROP_PATH", False,
    "Keep the frozen teacher's drop path active in training, as in the authors' code.",
    authors=Authors(True, "section 4, frozen; the code leaves its drop path active"))
key("DISTILL.WEIGHT", 1.0, "Weight of the distillation loss.", NOT_NEGATIVE)
key("DISTILL.CLASS_WEIGHT", 1.0, "Weight of the classification loss (DeiT: 0.5, and WEIGHT 0.5).", NOT_NEGATIVE)
key("DISTILL.PAIR_CASE", 3,
    "Case of table 14: which teacher clip each student clip is paired with (section C.8). Cases 2 and 3 need "
    "AUG.NUM_SAMPLE 2, cases 1 and 4 also work with 1.", one_of(1, 2, 3, 4))
