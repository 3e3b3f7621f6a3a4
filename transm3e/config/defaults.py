"""Every config key, its default and what it means; PySlowFast's names mean here what they mean there."""

from __future__ import annotations

from fvcore.common.config import CfgNode

from transm3e.config.defaults_baselines import add_baselines

_C = CfgNode()

# ---------------------------------------------------------------- the run
# What is trained: "classify" (one model), "distill" (a student learns from a frozen teacher, DISTILL) or "har_lookup"
# (a model learns activities and looks their muscles up).
_C.TASK = "classify"
# Where the paper's text and its published code differ: "paper" or "authors_code". It chooses the defaults of the keys
# in transm3e/config/protocol.py; a key that is set in a file or on the command line wins over it. The configs this one
# starts from take it over where their files set none.
_C.PROTOCOL = "paper"
# GPUs of this machine; 0 = CPU. More than 1 starts one process per GPU (or, with torchrun, uses those it started).
_C.NUM_GPUS = 1
# Threads that each process computes with on the CPU; 0 = as many as PyTorch likes. With data loading beside it on
# few cores, threads that wait for each other cost far more than they bring: leave a core to each loading process.
_C.CPU_THREADS = 0
# Machines, and the number of this one (set by --num_shards / --shard_id).
_C.NUM_SHARDS = 1
_C.SHARD_ID = 0
# Backend of torch.distributed on GPUs; CPUs always use gloo.
_C.DIST_BACKEND = "nccl"
# Seconds that processes wait for one that does not arrive or get on; then it is named and all end.
_C.DIST_TIMEOUT = 600.0
# Seed of all random numbers: weights, data order, augmentation, dropout.
_C.RNG_SEED = 0
# On GPUs, only operations that give the same bits every time: slower, and an error where there is none. CPUs always do.
_C.DETERMINISTIC = False
# Folder of this run; "" = RUNS_DIR/<config name>-<data set>-<hash of the settings and data that matter>.
_C.OUTPUT_DIR = ""
# Where runs without an OUTPUT_DIR go, among them those that a config starts from.
_C.RUNS_DIR = "runs"
# Write a log line every so many training steps.
_C.LOG_PERIOD = 10
# Log the model's parameter count at the start of training.
_C.LOG_MODEL_INFO = True

# ---------------------------------------------------------------- starting weights
_C.INIT = CfgNode()
# Starting weights of the student (or of the only model): "", a .pyth file, or a config whose run is made first.
# A config is looked for beside the file that names it.
_C.INIT.STUDENT_FROM = ""
# The frozen teacher: a .pyth file, or a config whose run is made first. TASK "distill" needs it.
_C.INIT.TEACHER_FROM = ""
# KEY, VALUE, ... applied to the configs named above (they also take over this run's seed, data paths and devices).
_C.INIT.OPTS = []

# ---------------------------------------------------------------- training
_C.TRAIN = CfgNode()
_C.TRAIN.ENABLE = True
# Name of the dataset, for titles, tables and folders of runs; "" = the data's folder: Mine of data/Mine.
_C.TRAIN.DATASET = ""
# Clips per machine and optimiser step (videos, each giving AUG.NUM_SAMPLE clips), all its GPUs together.
_C.TRAIN.BATCH_SIZE = 16
# Steps whose gradients are summed before the optimiser moves; BATCH_SIZE is divided among them.
_C.TRAIN.ACCUM_STEPS = 1
# Validate every so many epochs (0 = never).
_C.TRAIN.EVAL_PERIOD = 1
# Save a checkpoint every so many epochs; the last epoch is always saved.
_C.TRAIN.CHECKPOINT_PERIOD = 1
# Save a resumable checkpoint every so many steps as well (0 = off).
_C.TRAIN.CHECKPOINT_STEPS = 0
# Checkpoints of past epochs to keep, besides best and last (0 = all).
_C.TRAIN.KEEP_CHECKPOINTS = 1
# Go on from the newest checkpoint in OUTPUT_DIR; beats CHECKPOINT_FILE_PATH.
_C.TRAIN.AUTO_RESUME = True
# Start from the weights in this file, a path or a URL; FILE::KEY takes those under KEY, as a.pth::model_ema; "" = from
# drawn ones.
_C.TRAIN.CHECKPOINT_FILE_PATH = ""
# Whose parameter names that file (or INIT.STUDENT_FROM's) has: "auto", "transm3e", "torchvision", "pyslowfast",
# "pytorchvideo", "timm", "videoswin", "mmaction", "stgcn", "authors", "authors_teacher" (of the authors' two branches,
# the frozen one).
_C.TRAIN.CHECKPOINT_SOURCE = "auto"
# Beginnings of our parameter names that such a file need not hold in our shape, as "head." for weights of another
# number of classes; these keep their drawn values.
_C.TRAIN.CHECKPOINT_ALLOW = []
# Automatic mixed precision, and its type: "auto" (bf16 where the device computes it, else fp16), "bf16", "fp16".
_C.TRAIN.MIXED_PRECISION = False
_C.TRAIN.AMP_DTYPE = "auto"
# Steps in a row that fp16's scaler may skip because the gradient is not finite: from its first scale, 2^16, 2^-9 by then.
_C.TRAIN.MOST_SKIPPED = 25
# torch.compile of the training step: faster after minutes of compiling; results differ by rounding.
_C.TRAIN.COMPILE = False
# Each process holds a part of the weights, gradients and optimiser state (FSDP2): less memory, the same result.
_C.TRAIN.FSDP = False

# ---------------------------------------------------------------- evaluation
_C.TEST = CfgNode()
_C.TEST.ENABLE = True
# Name of the dataset, for titles and tables; "" = TRAIN.DATASET.
_C.TEST.DATASET = ""
# Views per machine and forward pass.
_C.TEST.BATCH_SIZE = 16
# Splits that are scored.
_C.TEST.SPLITS = ["known_val", "new_val", "known_test", "new_test"]
# Which of the run's checkpoints is scored: "last", or "best" (highest mean of known_val and new_val in training).
_C.TEST.WHICH_CHECKPOINT = "last"
# Score this file or URL instead of the run's own checkpoint.
_C.TEST.CHECKPOINT_FILE_PATH = ""
# Whose parameter names that file has; as TRAIN.CHECKPOINT_SOURCE, without "authors_teacher".
_C.TEST.CHECKPOINT_SOURCE = "auto"
# Temporal views: "spread" evenly over the clip (one alone is its centre), or one from the "start", its first frame,
# whatever NUM_ENSEMBLE_VIEWS says.
_C.TEST.VIEWS_FROM = "spread"
# Views of a clip that are averaged: in time, and along the long side (1 or 3).
_C.TEST.NUM_ENSEMBLE_VIEWS = 5
_C.TEST.NUM_SPATIAL_CROPS = 1
# Clips that cannot be read are left out of the scores and counted in results.json; else they end the evaluation with a
# message that names them all.
_C.TEST.ALLOW_MISSING = False

# ---------------------------------------------------------------- prediction on any video files
_C.DEMO = CfgNode()
_C.DEMO.ENABLE = False
# A video file or a folder of them.
_C.DEMO.INPUT_VIDEO = ""
# The scores as CSV, one row per file; "" = scores.csv in OUTPUT_DIR.
_C.DEMO.OUTPUT_FILE = ""
# A folder for a picture per file, of frames and the highest scores; "" = none.
_C.DEMO.PICTURES = ""
# For a model of skeletons: what finds the persons, "blazepose" or "keypointrcnn", and the latter's weights, file or URL.
# Joints in skeletons/NAME.npz beside the videos (datasets/extract_skeleton.py) are taken instead.
_C.DEMO.DETECTOR = "blazepose"
_C.DEMO.DETECTOR_WEIGHTS = ""

# ---------------------------------------------------------------- data
_C.DATA = CfgNode()
# The clip table, or the folder that holds clips.csv.
_C.DATA.PATH_TO_DATA_DIR = ""
# Root of the paths in the clip table; "" = the table's folder.
_C.DATA.PATH_PREFIX = ""
# What the model sees: "rgb", "rgb_diff", "rgb_motion", "flow"; for graph models "skeleton" (joints), "skeleton_bone",
# "skeleton_motion", "skeleton_bone_motion".
_C.DATA.MODALITY = "rgb"
# What is predicted: "muscles", or the "activity", one of those in train (Kinetics); "auto": the activity where
# MODEL.LOSS_FUNC is cross_entropy or soft_cross_entropy, else muscles.
_C.DATA.TARGET = "auto"
# Views of a clip are averaged ("sum", PySlowFast's name), or the highest score of each class is taken ("max").
_C.DATA.ENSEMBLE_METHOD = "sum"
# Frames of a clip, and the step between them in frames of the video.
_C.DATA.NUM_FRAMES = 16
_C.DATA.SAMPLING_RATE = 4
# A video is played at so many frames per second before its frames are counted (nearest frame in time); 0 = its own
# rate. Folders of pictures have no clock and are counted.
_C.DATA.TARGET_FPS = 30.0
# Frames of a clip: "stride": start + SAMPLING_RATE * i; "linspace": PySlowFast's, spread evenly over NUM_FRAMES *
# SAMPLING_RATE frames and rounded down, for checkpoints that were trained so. Exactly PySlowFast's frames where the
# video's own rate is TARGET_FPS; at other rates some are one or two frames off.
_C.DATA.FRAME_INDICES = "stride"
# A video shorter than the clip: "hold" its last frame, or "loop".
_C.DATA.SHORT_CLIPS = "hold"
# Who decodes: "pyav", "torchcodec", "torchcodec_cuda" (NVDEC; needs DATA_LOADER.NUM_WORKERS 0), "opencv" (for
# comparison: it says nothing of damaged files).
_C.DATA.DECODING_BACKEND = "pyav"
# Side of the square clip in pixels.
_C.DATA.TRAIN_CROP_SIZE = 224
_C.DATA.TEST_CROP_SIZE = 224
# How crops are resized: "mipmap": 2x2 means while more than twice too large, then bilinear; "bilinear" and "bicubic":
# areas are averaged beyond a factor of 2 (the same to the eye, several times as slow there); "area".
_C.DATA.RESIZE = "mipmap"
# Random resized crop in training: range of the area, and of the aspect ratio.
_C.DATA.TRAIN_JITTER_SCALES_RELATIVE = [0.08, 1.0]
_C.DATA.TRAIN_JITTER_ASPECT_RELATIVE = [0.75, 1.3333]
# Flip half of the training clips.
_C.DATA.RANDOM_FLIP = True
# Channel means and standard deviations of pixels in [0, 1].
_C.DATA.MEAN = [0.45, 0.45, 0.45]
_C.DATA.STD = [0.225, 0.225, 0.225]
# Seconds after which a file that does not decode is given up and named.
_C.DATA.DECODE_TIMEOUT = 60.0

# ---------------------------------------------------------------- augmentation of training clips
_C.AUG = CfgNode()
# False: training clips are only cropped and flipped.
_C.AUG.ENABLE = True
# Augmented clips drawn from each video of a batch.
_C.AUG.NUM_SAMPLE = 1
# The most frames between the starts of these clips; -1 = each is drawn anywhere in the video. Few frames apart, one
# decode serves them all, but they show nearly the same moment; 0 = the same frames, cropped differently.
_C.AUG.SAMPLE_DISTANCE = -1
# RandAugment, as timm names it: magnitude m, n operations, noise mstd on m, inc1: operations that grow with m; "" = off.
_C.AUG.AA_TYPE = "rand-m7-n4-mstd0.5-inc1"
# "crop_first" (fast), or "augment_first", PySlowFast's: RandAugment on the whole frame, then the crop.
_C.AUG.ORDER = "crop_first"
# Of RandAugment's warps: "bilinear" or "bicubic" (six times as slow).
_C.AUG.INTERPOLATION = "bilinear"
# Brightness, contrast and saturation factors are drawn from [1 - x, 1 + x].
_C.AUG.COLOR_JITTER = 0.4
# Probability that boxes are erased, what fills them ("pixel": noise, "rand": one colour, "const": grey), and the most
# of them.
_C.AUG.RE_PROB = 0.25
_C.AUG.RE_MODE = "pixel"
_C.AUG.RE_COUNT = 1
# Of a clip's frames: it is so many times as fast as its video, at least and at most (log-uniform; the video is then played
# back and forth from anywhere), and this share of its time stands still.
_C.AUG.TEMPO = [1.0, 1.0]
_C.AUG.PAUSES = 0.0
# Of joints alone. The most degrees around the vertical axis (of joints in space) and around the others; each axis is scaled by
# up to 1 -+ this; a joint's error in body sizes (standard deviation); probability that feet, hands or the head are missing.
_C.AUG.JOINT_TURN = 0.0
_C.AUG.JOINT_TILT = 0.0
_C.AUG.JOINT_STRETCH = 0.0
_C.AUG.JOINT_NOISE = 0.0
_C.AUG.JOINT_DROPOUT = 0.0

# Mixup and CutMix of training batches: each video with another one of its batch, labels likewise.
_C.MIXUP = CfgNode()
_C.MIXUP.ENABLE = False
# Shares are drawn from Beta(ALPHA, ALPHA) for mixup, Beta(CUTMIX_ALPHA, CUTMIX_ALPHA) for CutMix; 0 = without it.
_C.MIXUP.ALPHA = 0.8
_C.MIXUP.CUTMIX_ALPHA = 1.0
# Share of batches that are mixed, and of these the share of CutMix.
_C.MIXUP.PROB = 1.0
_C.MIXUP.SWITCH_PROB = 0.5
# Every label y becomes y (1 - s) + s / 2; with DATA.TARGET activity, of C classes, y (1 - s) + s / C.
_C.MIXUP.LABEL_SMOOTH_VALUE = 0.1


_C.DATA_LOADER = CfgNode()
# Processes that load data, per process that trains; 0 = load in the training process.
_C.DATA_LOADER.NUM_WORKERS = 2
# Page-locked memory for faster copies to the GPU.
_C.DATA_LOADER.PIN_MEMORY = True

# ---------------------------------------------------------------- model
_C.MODEL = CfgNode()
# A name of transm3e.models.MODELS.
_C.MODEL.MODEL_NAME = "TransM3E"
# Which ResNet MODEL_NAME ResNet is: "c2d", "i3d", "slow", "c2d_nopool" or "i3d_nopool"; other models take no notice.
_C.MODEL.ARCH = ""
# Muscle regions, or activities (DATA.TARGET, TASK har_lookup).
_C.MODEL.NUM_CLASSES = 20
# A name of transm3e.losses.LOSSES.
_C.MODEL.LOSS_FUNC = "bce_softmax"
# Dropout before the last linear layer.
_C.MODEL.DROPOUT_RATE = 0.0
# Standard deviation of the last linear layer's starting weights in ResNet and SlowFast.
_C.MODEL.FC_INIT_STD = 0.01
# Compute the blocks' activations again in the backward pass instead of keeping them: less memory, about a third more
# time, the same result.
_C.MODEL.ACT_CHECKPOINT = False

_C.BN = CfgNode()
# Batch norms see the clips of their own GPU, "batchnorm", or of all GPUs, "sync_batchnorm" (slower).
_C.BN.NORM_TYPE = "batchnorm"

# The MViTv2 backbone; sizes of MViTv2-S.
_C.MVIT = CfgNode()
# Kernel, stride and padding of the patch embedding (t, h, w).
_C.MVIT.PATCH_KERNEL = [3, 7, 7]
_C.MVIT.PATCH_STRIDE = [2, 4, 4]
_C.MVIT.PATCH_PADDING = [1, 3, 3]
# Width of the first block, its attention heads, and the number of blocks.
_C.MVIT.EMBED_DIM = 96
_C.MVIT.NUM_HEADS = 1
_C.MVIT.DEPTH = 16
# Width of the MLP in block widths; bias of q, k and v.
_C.MVIT.MLP_RATIO = 4.0
_C.MVIT.QKV_BIAS = True
# Dropout of tokens, and drop path rising linearly to this rate at the last block.
_C.MVIT.DROPOUT_RATE = 0.0
_C.MVIT.DROPPATH_RATE = 0.2
# [block, factor]: width and heads are multiplied at these blocks.
_C.MVIT.DIM_MUL = [[1, 2.0], [3, 2.0], [14, 2.0]]
_C.MVIT.HEAD_MUL = [[1, 2.0], [3, 2.0], [14, 2.0]]
# Kernel of the pooling convolutions of q, k and v.
_C.MVIT.POOL_KVQ_KERNEL = [3, 3, 3]
# [block, t, h, w]: stride of q's pooling (a block not listed does not pool q); stride of k and v before any q stride.
_C.MVIT.POOL_Q_STRIDE = [[block, 1, 2, 2] if block in (1, 3, 14) else [block, 1, 1, 1] for block in range(16)]
_C.MVIT.POOL_KV_STRIDE_ADAPTIVE = [1, 8, 8]

# TransM3E on top of the backbone (paper, section 4).
_C.TRANSM3E = CfgNode()
# MCTs, the multi-classification tokens (table 10: as many as muscle regions is best).
_C.TRANSM3E.NUM_MCTS = 20
# Receivers: extra MCTs of the student that learn from the teacher's (the senders).
_C.TRANSM3E.RECEIVERS = False
# How receivers start: "normal" (like the MCTs) or "zeros" (the authors' code; all receivers then stay equal at first).
_C.TRANSM3E.RECEIVER_INIT = "normal"
# How MCTs and receivers become one, a name of transm3e.layers.fusions.FUSIONS: "mctf", "mean" (their average, the
# paper's ablation without MCTF), or table 5's "sum", "concat", "multiply", "self_attention", "cross_attention",
# "bottleneck".
_C.TRANSM3E.FUSION = "mean"
# What the logits are read from: the "mean" of the tokens, by a linear layer; or "class_tokens", token i averaged over
# its channels for class i, before the last norm and without a linear layer (MCT of Xu et al., tables 3 and 9).
_C.TRANSM3E.READOUT = "mean"

# MCTF, the token fusion block (equations 2 to 7). The other fusions by attention read NUM_HEADS, QKV_BIAS, DROPOUT,
# DROPPATH_RATE and MLP_RATIO here, too.
_C.MCTF = CfgNode()
# Where they do not divide the width (table 11: 5 and 768), a head's width is rounded up: 5 heads of 154.
_C.MCTF.NUM_HEADS = 1
# Factor on q.k (D.3 says 0.8); 0 = head_dim^-0.5, as the authors' code.
_C.MCTF.SCALE = 0.8
# Bias of q, k and v; the authors' code has none.
_C.MCTF.QKV_BIAS = True
# Attention as in the authors' code, which their checkpoints need: heads change the scale only, and what a map gives
# is transposed and read in another shape, which mixes tokens with channels.
_C.MCTF.AUTHORS_VIEW = False
_C.MCTF.DROPOUT = 0.0
_C.MCTF.DROPPATH_RATE = 0.2
# Width of its MLP in token widths.
_C.MCTF.MLP_RATIO = 1.0
# Which of the six attention maps are summed (table 12), at least one: stream, query, key, as in A^m_mr.
_C.MCTF.MAPS = ["m_mm", "m_mr", "m_rm", "r_rr", "r_mr", "r_rm"]

# MODEL_NAME TwoBranch (table 6): MViT on two modalities, both read in training and at test time.
_C.TWO_BRANCH = CfgNode()
# The second one: "rgb", "rgb_diff", "rgb_motion" or "flow". DATA.MODALITY is the first.
_C.TWO_BRANCH.MODALITY = "rgb_diff"
# How they become one. Two branches whose scores are averaged "late_sum" or multiplied "late_mul", whose class tokens are
# classified side by side "late_concat", or read the other branch's tokens "cross_attention", or those of both "mixed";
# two patch embeddings before one backbone: "pe_sum", "pe_concat", "pe_mul".
_C.TWO_BRANCH.FUSION = "late_sum"

add_baselines(_C)

# ---------------------------------------------------------------- HAR lookup (section C.1, table 8)
# TASK har_lookup: MODEL learns activities; a clip's muscles are those of its activity in training.
_C.LOOKUP = CfgNode()
# In the final scores: muscles of the "predicted" activity (the paper), or those "expected" under all activities'
# probabilities. Validation while training looks at the predicted one.
_C.LOOKUP.MUSCLES = "predicted"

# ---------------------------------------------------------------- distillation (equation 1, tables 4 and 6)
_C.DISTILL = CfgNode()
# What learns from the teacher: "mctkd": the receivers, from its MCTs; "kd": the student's own MCTs, from its MCTs;
# "logits": the student's logits (any two models; Hinton et al.); "deit": the distillation head of MODEL_NAME DeiT.
_C.DISTILL.METHOD = "mctkd"
# What the teacher sees: "rgb", "rgb_diff", "rgb_motion" or "flow".
_C.DISTILL.MODALITY = "rgb_diff"
# Of mctkd and kd: tokens are compared "dense", after every block; "sparse", after each block whose POOL_Q_STRIDE reduces
# the patches and after the last; "final", after the last; or at the "patch_embed", as they enter the first block.
_C.DISTILL.POSITION = "dense"
# Axis of the softmax over a block's tokens: "token", "channel" or "full" (table 4: TW, CW, FP).
_C.DISTILL.AXIS = "token"
# KL at this temperature times ALPHA * TEMPERATURE^2.
_C.DISTILL.TEMPERATURE = 10.0
_C.DISTILL.ALPHA = 0.9
# "mean" over all elements (as PyTorch's mean) or "batchmean".
_C.DISTILL.REDUCTION = "mean"
# The teacher's tokens are compared without their mean over the clips seen so far, which every clip shares.
_C.DISTILL.CENTRE = False
# With POSITION dense, blocks that the sum of the blocks' KL is divided by; 0 = as many as there are (the authors' code:
# 16 for 24 as well). Elsewhere it is always their mean.
_C.DISTILL.NUM_BLOCKS = 0
# The frozen teacher's drop path stays active in training, as in the authors' code.
_C.DISTILL.TEACHER_DROP_PATH = False
# Weights of the distillation loss and of the classification loss (DeiT: one half each).
_C.DISTILL.WEIGHT = 1.0
_C.DISTILL.CLASS_WEIGHT = 1.0
# Which teacher clip a student clip is paired with (section C.8, table 14): 1 to 4; 2 and 3 need AUG.NUM_SAMPLE 2,
# the others also take 1.
_C.DISTILL.PAIR_CASE = 3

# ---------------------------------------------------------------- optimiser and schedule
_C.SOLVER = CfgNode()
# "adamw" or "sgd".
_C.SOLVER.OPTIMIZING_METHOD = "adamw"
_C.SOLVER.MAX_EPOCH = 10
# Learning rate per machine; BASE_LR_SCALE_NUM_SHARDS multiplies it and the two below by NUM_SHARDS.
_C.SOLVER.BASE_LR = 1e-4
_C.SOLVER.BASE_LR_SCALE_NUM_SHARDS = False
# "cosine" down to COSINE_END_LR, "constant", or "steps_with_relative_lrs": from epoch STEPS[i] on LRS[i] times BASE_LR.
_C.SOLVER.LR_POLICY = "cosine"
_C.SOLVER.STEPS = []
_C.SOLVER.LRS = []
_C.SOLVER.COSINE_END_LR = 1e-6
# The cosine begins after the warm-up instead of under it.
_C.SOLVER.COSINE_AFTER_WARMUP = True
# Epochs of linear warm-up, and the rate it begins with.
_C.SOLVER.WARMUP_EPOCHS = 1.0
_C.SOLVER.WARMUP_START_LR = 1e-6
# Momentum of SGD, betas of AdamW.
_C.SOLVER.MOMENTUM = 0.9
_C.SOLVER.BETAS = [0.9, 0.999]
_C.SOLVER.WEIGHT_DECAY = 0.05
# No weight decay on biases and norms.
_C.SOLVER.ZERO_WD_1D_PARAM = True
# Clip the gradient's L2 norm to this (0 = off).
_C.SOLVER.CLIP_GRAD_L2NORM = 1.0

_C.TENSORBOARD = CfgNode()
# Write scalars for TensorBoard to OUTPUT_DIR/tensorboard.
_C.TENSORBOARD.ENABLE = True


def get_cfg() -> CfgNode:
    """A fresh, unfrozen config with every default."""
    return _C.clone()
