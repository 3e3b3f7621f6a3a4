# fmt: off
"""Keys of models, losses, distillation and HAR lookup.

A table, which a formatter would take apart: the name and default of a key, its meaning, what else is known of it
(transm3e.config.schema.key). A key of PySlowFast's name means here what it means there.
"""

from __future__ import annotations

from transm3e.config.schema import (
    ABOVE_0,
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
        return f"is {names}; it must name each map once, remove what stands there twice"
    return "" if names else f"is {names}; it must name at least one map of {', '.join(MAPS)}: add one"


group("MODEL", "the model")
key("MODEL.MODEL_NAME", "TransM3E", "The model.", registered("MODEL.MODEL_NAME"), NETWORK, compared=("tokens",), theirs="SlowFast")
key("MODEL.ARCH", "",
    "Which ResNet MODEL_NAME ResNet is: c2d, i3d, slow, c2d_nopool or i3d_nopool; other models take no notice.",
    role=NETWORK, of_model=True, theirs="slowfast")
key("MODEL.NUM_CLASSES", 20, "Muscle regions, or activities (DATA.TARGET, TASK har_lookup).",
    COUNT, NETWORK, compared=("logits",), theirs=400)
key("MODEL.LOSS_FUNC", "bce_softmax", "The loss.", registered("MODEL.LOSS_FUNC"), SCORES, theirs="cross_entropy")
key("MODEL.DROPOUT_RATE", 0.0, "Dropout before the last linear layer.", SHARE, scaled=True, theirs=0.5)
key("MODEL.FC_INIT_STD", 0.01,
    "Standard deviation of the last linear layer's starting weights in ResNet and SlowFast.", NOT_NEGATIVE)
key("MODEL.ACT_CHECKPOINT", False,
    "Compute the blocks' activations again in the backward pass instead of keeping them: less memory, about a third "
    "more time, the same result.", role=PLACE, inherited=True)

group("ASL", "MODEL.LOSS_FUNC asl, the asymmetric loss (Ridnik et al. 2021)")
key("ASL.GAMMA_NEG", 4.0, "Focusing exponent of negatives.", NOT_NEGATIVE, new=True)
key("ASL.GAMMA_POS", 1.0, "Focusing exponent of positives.", NOT_NEGATIVE, new=True)
key("ASL.CLIP", 0.05, "Margin that is subtracted from a negative's probability.", SHARE, new=True)

group("BN")
key("BN.NORM_TYPE", "batchnorm",
    "Batch norms see the clips of their own GPU, or (sync_batchnorm, slower) of all GPUs.",
    one_of("batchnorm", "sync_batchnorm"))

group("MVIT", "the MViTv2 backbone; sizes of MViTv2-S", role=NETWORK, of_model=True, scaled=True)
key("MVIT.PATCH_KERNEL", [3, 7, 7], "Kernel of the patch embedding (t, h, w).", numbers(3, least=1, whole=True))
key("MVIT.PATCH_STRIDE", [2, 4, 4], "Its stride.", numbers(3, least=1, whole=True))
key("MVIT.PATCH_PADDING", [1, 3, 3], "Its padding.", numbers(3, whole=True), theirs=[2, 4, 4])
key("MVIT.EMBED_DIM", 96, "Width of the first block.", COUNT, compared=("tokens",))
key("MVIT.NUM_HEADS", 1, "Attention heads of the first block.", COUNT)
key("MVIT.DEPTH", 16, "Number of blocks.", DEPTH, compared=("tokens",))
key("MVIT.MLP_RATIO", 4.0, "Width of the MLP in block widths.", ABOVE_0)
key("MVIT.QKV_BIAS", True, "Bias of q, k and v.")
key("MVIT.DROPOUT_RATE", 0.0, "Dropout of tokens.", SHARE, TRAINING)
key("MVIT.DROPPATH_RATE", 0.2, "Drop path, rising linearly to this rate at the last block.", SHARE, TRAINING, theirs=0.1)
key("MVIT.DIM_MUL", [[1, 2.0], [3, 2.0], [14, 2.0]],
    "[block, factor]: the width is multiplied at these blocks.", by_block(2), compared=("tokens",), theirs=[])
key("MVIT.HEAD_MUL", [[1, 2.0], [3, 2.0], [14, 2.0]],
    "[block, factor]: the heads are multiplied at these blocks.", by_block(2), theirs=[])
key("MVIT.POOL_KVQ_KERNEL", [3, 3, 3],
    "Kernel of the pooling convolutions of q, k and v.", numbers(3, least=1, whole=True), theirs=None)
key("MVIT.POOL_Q_STRIDE", [[block, 1, 2, 2] if block in (1, 3, 14) else [block, 1, 1, 1] for block in range(16)],
    "[block, t, h, w]: stride of q's pooling; a block not listed does not pool q.", by_block(4, whole=True), theirs=[])
key("MVIT.POOL_KV_STRIDE_ADAPTIVE", [1, 8, 8],
    "Stride of the pooling of k and v before any q stride.", numbers(3, least=1, whole=True), theirs=None)

group("TRANSM3E", "TransM3E on top of the MViTv2 backbone (paper, section 4)", role=NETWORK, of_model=True)
key("TRANSM3E.NUM_MCTS", 20,
    "MCTs, the multi-classification tokens (table 10: as many as muscle regions is best).", COUNT, compared=("tokens",))
key("TRANSM3E.RECEIVERS", False,
    "Receivers: extra MCTs of the student that learn from the teacher's (the senders).", may_change=True)
key("TRANSM3E.RECEIVER_INIT", "normal",
    "How receivers start. normal: like the MCTs; zeros: the authors' code, all receivers then stay equal at first.",
    one_of("normal", "zeros"), TRAINING,
    authors=Authors("zeros", "section 4, receivers are MCTs; the code's start as zeros"))
key("TRANSM3E.FUSION", "mean",
    "How MCTs and receivers become one. mean: their average, the paper's "
    "ablation without MCTF; the others but mctf: table 5.",
    registered("TRANSM3E.FUSION"), may_change=True)
key("TRANSM3E.READOUT", "mean",
    "What the logits are read from. mean: of the tokens, by a linear layer; class_tokens: token i averaged over its "
    "channels for class i, before the last norm and without a linear layer (MCT of Xu et al., tables 3 and 9).",
    one_of("mean", "class_tokens"))

group("MCTF", "the token fusion block (equations 2 to 7); other fusions by attention read NUM_HEADS, QKV_BIAS, DROPOUT, "
      "DROPPATH_RATE and MLP_RATIO, too", role=NETWORK, of_model=True, may_change=True)
key("MCTF.NUM_HEADS", 1,
    "Where they do not divide the width (table 11: 5 and 768), a head's width is rounded up: 5 heads of 154.", COUNT)
key("MCTF.SCALE", 0.8, "Factor on q.k (D.3 says 0.8); 0 = head_dim^-0.5, as the authors' code.", NOT_NEGATIVE,
    authors=Authors(0.0, "D.3; the code takes head_dim^-0.5"))
key("MCTF.QKV_BIAS", True, "Bias of q, k and v.",
    authors=Authors(False, "D.3 on the backbone; the code's q, k, v of MCTF have none"))
key("MCTF.AUTHORS_VIEW", False,
    "Attention as in the authors' code, which their checkpoints need: heads change the scale only, and what a map "
    "gives is transposed and read in another shape, which mixes tokens with channels.",
    authors=Authors(True, "equations 2 to 4; the code reads the transposed result in another shape"))
key("MCTF.DROPOUT", 0.0, "Dropout.", SHARE, TRAINING)
key("MCTF.DROPPATH_RATE", 0.2, "Drop path.", SHARE, TRAINING)
key("MCTF.MLP_RATIO", 1.0, "Width of its MLP in token widths.", ABOVE_0)
key("MCTF.MAPS", list(MAPS),
    "Which of the six attention maps are summed (table 12): stream, query, key, as in A^m_mr.",
    Rule(f"at least one of {', '.join(MAPS)}", _maps, lambda: MAPS))

group("TWO_BRANCH", "MODEL_NAME TwoBranch (table 6): MViT on two modalities, both read in training and at test time",
      role=NETWORK, of_model=True)
key("TWO_BRANCH.MODALITY", "rgb_diff", "The second modality; DATA.MODALITY is the first.", among(lambda: names_of(PIXELS)))
key("TWO_BRANCH.FUSION", "late_sum",
    "How the two become one. Two branches whose scores are averaged (late_sum) or multiplied (late_mul), whose class "
    "tokens are classified side by side (late_concat), or read the other branch's tokens (cross_attention), or those "
    "of both (mixed); two patch embeddings before one backbone (pe_sum, pe_concat, pe_mul).",
    registered("TWO_BRANCH.FUSION"))

group("RESNET", "C2D, I3D and Slow (MODEL_NAME ResNet, MODEL.ARCH) and both pathways of SlowFast: bottleneck ResNets",
      role=NETWORK, of_model=True, scaled=True)
key("RESNET.DEPTH", 50, "Layers: 50, 101 or 152.")
key("RESNET.WIDTH_PER_GROUP", 64, "Channels of the stem.", COUNT)
key("RESNET.NUM_BLOCK_TEMP_KERNEL", [],
    "Blocks of each stage that have its temporal kernel, as [[3], [4], [6], [3]]; [] = all.",
    theirs=[[3], [4], [6], [3]])
key("RESNET.ZERO_INIT_FINAL_BN", True,
    "The last batch norm of every residual block starts at 0, so that blocks start as their shortcuts.",
    role=TRAINING, theirs=False)

group("SLOWFAST", "SlowFast (Feichtenhofer et al. 2019)", role=NETWORK, of_model=True, scaled=True)
key("SLOWFAST.ALPHA", 8, "The fast pathway has ALPHA times the frames of the slow one.", COUNT)
key("SLOWFAST.BETA_INV", 8, "The fast pathway has 1 / BETA_INV of the channels of the slow one.", COUNT)
key("SLOWFAST.FUSION_CONV_CHANNEL_RATIO", 2, "From fast to slow: channels in those of the fast pathway.", COUNT)
key("SLOWFAST.FUSION_KERNEL_SZ", 5, "From fast to slow: frames of the kernel.", COUNT)

group("VIDEOSWIN", "Video Swin Transformer (Liu et al. 2022); sizes of VideoSwin-S",
      role=NETWORK, of_model=True, scaled=True)
key("VIDEOSWIN.PATCH_SIZE", [2, 4, 4], "Patches (t, h, w).", numbers(3, least=1, whole=True))
key("VIDEOSWIN.EMBED_DIM", 96, "Width of the first stage.", COUNT)
key("VIDEOSWIN.DEPTHS", [2, 2, 18, 2], "Blocks of each stage.")
key("VIDEOSWIN.NUM_HEADS", [3, 6, 12, 24], "Heads of each stage.")
key("VIDEOSWIN.WINDOW_SIZE", [8, 7, 7], "Windows (t, h, w).", numbers(3, least=1, whole=True))
key("VIDEOSWIN.MLP_RATIO", 4.0, "Width of the MLP in block widths.", ABOVE_0)
key("VIDEOSWIN.DROPOUT_RATE", 0.0, "Dropout of tokens and MLPs.", SHARE, TRAINING)
key("VIDEOSWIN.ATTENTION_DROPOUT_RATE", 0.0, "Dropout of attention.", SHARE, TRAINING)
key("VIDEOSWIN.DROPPATH_RATE", 0.1, "Drop path, rising linearly to this rate at the last block.", SHARE, TRAINING)

group("STGCN", "ST-GCN (Yan et al. 2018)", role=NETWORK, of_model=True, scaled=True)
key("STGCN.WIDTH", 64, "Channels of the first block; they double twice.", COUNT)
key("STGCN.PARTITION", "uniform",
    "Which neighbours share weights; spatial_code: as published weights have it.",
    one_of("uniform", "distance", "spatial", "spatial_code"))
key("STGCN.TEMPORAL_KERNEL", 9, "Frames of the temporal convolutions' kernels, odd.", COUNT)
key("STGCN.DROPOUT", 0.0, "Dropout.", SHARE, TRAINING)

group("CTRGCN", "CTR-GCN (Chen et al. 2021)", role=NETWORK, of_model=True, scaled=True)
key("CTRGCN.WIDTH", 64, "Channels of the first block; they double twice.", COUNT)
key("CTRGCN.TEMPORAL_KERNEL", 5, "Frames of the temporal kernels, odd.", COUNT)
key("CTRGCN.DILATIONS", [1, 2], "Dilations of the branches that have a temporal kernel.")
key("CTRGCN.REDUCTION", 8, "Channels that refine the topology: a block's input channels divided by this.", COUNT)
key("CTRGCN.DROPOUT", 0.0, "Dropout.", SHARE, TRAINING)

group("POSENET", "PoseNet, ours: an MLP on the mean and the spread of poses", role=NETWORK, of_model=True, scaled=True)
key("POSENET.WIDTH", 192, "Channels of the hidden layers; MODEL.DROPOUT_RATE is their dropout.", COUNT)
key("POSENET.DEPTH", 2, "Number of the hidden layers; 0 is a logistic regression.", NOT_NEGATIVE)
key("POSENET.INPUT_DROPOUT", 0.0, "Dropout of what the hidden layers read.", SHARE, TRAINING)

group("HDGCN", "HD-GCN (Lee et al. 2023)", role=NETWORK, of_model=True, scaled=True)
key("HDGCN.WIDTH", 64, "Channels of the first block; they double twice.", COUNT)
key("HDGCN.TEMPORAL_KERNEL", 5, "Frames of the temporal kernels, odd.", COUNT)
key("HDGCN.DILATIONS", [1, 2], "Dilations of the branches that have a temporal kernel.")
key("HDGCN.CENTRE", "",
    'Joint from which the hierarchy is counted, or two without their side, as hip; "" = the layout\'s own centre.')
key("HDGCN.ATTENTION", True, "Attention over the levels of the hierarchy; False: their sum.")
key("HDGCN.DROPOUT", 0.0, "Dropout.", SHARE, TRAINING)

group("LOOKUP", "TASK har_lookup: MODEL learns activities; a clip's muscles are those of its activity in training "
      "(section C.1, table 8)", role=RESULTS)
key("LOOKUP.MUSCLES", "predicted",
    "In the final scores: muscles of the predicted activity (the paper), or those expected under all activities' "
    "probabilities. Validation while training looks at the predicted one.", one_of("predicted", "expected"))

group("DISTILL", "distillation (equation 1, tables 4 and 6)")
key("DISTILL.METHOD", "mctkd",
    "What learns from the teacher. mctkd: the receivers, from its MCTs; kd: the student's own MCTs, from its MCTs; "
    "logits: the student's logits (any two models; Hinton et al.); deit: the distillation head of MODEL_NAME DeiT.",
    registered("DISTILL.METHOD"))
key("DISTILL.MODALITY", "rgb_diff", "What the teacher sees.", among(lambda: names_of(PIXELS)))
key("DISTILL.POSITION", "dense",
    "Of mctkd and kd, where tokens are compared. dense: after every block; sparse: after each block whose "
    "POOL_Q_STRIDE reduces the patches and after the last; final: after the last; patch_embed: as they enter the first.",
    one_of("dense", "sparse", "final", "patch_embed"))
key("DISTILL.AXIS", "token",
    "Axis of the softmax over a block's tokens: TW, CW and FP of table 4.", one_of("token", "channel", "full"))
key("DISTILL.TEMPERATURE", 10.0, "Temperature of the KL divergence.", ABOVE_0)
key("DISTILL.ALPHA", 0.9, "The KL divergence is multiplied by ALPHA * TEMPERATURE^2.", NOT_NEGATIVE)
key("DISTILL.REDUCTION", "mean", "mean: over all elements, as PyTorch's mean.", one_of("mean", "batchmean"))
key("DISTILL.CENTRE", False,
    "The teacher's tokens are compared without their mean over the clips seen so far, which every clip shares.", new=True)
key("DISTILL.NUM_BLOCKS", 0,
    "With POSITION dense, blocks that the sum of the blocks' KL is divided by; 0 = as many as there are (the authors' "
    "code: 16 for 24 as well). Elsewhere it is always their mean.", NOT_NEGATIVE,
    authors=Authors(16, "equation 1, mean over the blocks; the code divides by 16 for 24 blocks too"))
key("DISTILL.TEACHER_DROP_PATH", False,
    "The frozen teacher's drop path stays active in training, as in the authors' code.",
    authors=Authors(True, "section 4, frozen; the code leaves its drop path active"))
key("DISTILL.WEIGHT", 1.0, "Weight of the distillation loss.", NOT_NEGATIVE)
key("DISTILL.CLASS_WEIGHT", 1.0, "Weight of the classification loss (DeiT: one half each).", NOT_NEGATIVE)
key("DISTILL.PAIR_CASE", 3,
    "Which teacher clip a student clip is paired with (section C.8, table 14); 2 and 3 need AUG.NUM_SAMPLE 2, the "
    "others also take 1.", one_of(1, 2, 3, 4))
