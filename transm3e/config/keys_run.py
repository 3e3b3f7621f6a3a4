# fmt: off
"""Keys of the run as a whole: processes, weights it starts from, training, evaluation, prediction, optimiser.

A table, which a formatter would take apart: the name and default of a key, its meaning, what else is known of it
(transm3e.config.schema.key). A key of PySlowFast's name means here what it means there.
"""

from __future__ import annotations

from transm3e.config.schema import (
    ABOVE_0,
    ALL_BELOW_1,
    BELOW_1,
    COUNT,
    INDIRECT,
    NOT_NEGATIVE,
    PLACE,
    RESULTS,
    SEED,
    Authors,
    Rule,
    group,
    key,
    numbers,
    one_of,
    some_of,
)

# Projects whose parameter names can be read.
SOURCES = (
    "auto", "transm3e", "torchvision", "pyslowfast", "pytorchvideo", "timm", "videoswin", "mmaction", "stgcn", "authors",
)


def _beginnings(names: list) -> str:
    good = all(isinstance(name, str) and name for name in names)
    return "" if good else f"is {names}; it must hold beginnings of parameter names, as head."


key("TASK", "classify",
    "What is trained. classify: one model; distill: a student that learns from a frozen teacher (DISTILL); har_lookup: "
    "a model that learns activities, whose muscles are then looked up.",
    one_of("classify", "distill", "har_lookup"), theirs="")
key("PROTOCOL", "paper",
    "Where the paper's text and its published code differ, which of them chooses the defaults: paper or authors_code "
    "(--help-keys PROTOCOL lists them). A key that is set in a file or on the command line wins over it. The configs "
    "this one starts from take it over where their files set none.", one_of("paper", "authors_code"), INDIRECT)
key("IMPORTS", [],
    "Python files of your own that register models, losses, distillers or keys (CONTRIBUTING.md); those of the bases, "
    "the config and --import are all imported first. They are looked for beside the file that names them.",
    role=INDIRECT, inherited=True)
key("NUM_GPUS", 1,
    "GPUs of this machine; 0 = CPU. More than 1 starts one process per GPU (or, with torchrun, uses those it started).",
    NOT_NEGATIVE, PLACE, inherited=True)
key("CPU_THREADS", 0,
    "Threads that each process computes with on the CPU; 0 = as many as PyTorch likes. With data loading beside it on "
    "few cores, threads that wait for each other cost far more than they bring: leave a core to each loading process.",
    NOT_NEGATIVE, PLACE, inherited=True, scaled=True)
key("NUM_SHARDS", 1, "Machines (set by --num_shards).", COUNT, inherited=True)
key("SHARD_ID", 0, "The number of this machine, from 0 (set by --shard_id).", NOT_NEGATIVE, PLACE, inherited=True)
key("DIST_BACKEND", "nccl", "Backend of torch.distributed on GPUs; CPUs always use gloo.", role=PLACE, inherited=True)
key("DIST_TIMEOUT", 600.0,
    "Seconds that processes wait for one that does not arrive or get on; then it is named and all end.",
    ABOVE_0, PLACE, inherited=True)
key("RNG_SEED", 0,
    "Seed of all random numbers: weights, data order, augmentation, dropout.", SEED, inherited=True, theirs=1)
key("DETERMINISTIC", False,
    "On GPUs, only operations that give the same bits every time: slower, and an error where there is none. CPUs "
    "always do.", role=PLACE, inherited=True)
key("OUTPUT_DIR", "",
    'Folder of this run; "" = RUNS_DIR/<config name>-<data set>-<hash of the settings and data that matter>.',
    role=PLACE, theirs=".")
key("RUNS_DIR", "runs",
    "Where runs without an OUTPUT_DIR go, among them those that a config starts from.", role=PLACE, inherited=True)
key("LOG_PERIOD", 10, "Write a log line every so many training steps.", COUNT, PLACE, scaled=True)
key("LOG_MODEL_INFO", True, "Log the model's parameter count at the start of training.", role=PLACE)

group("INIT", "starting weights", role=INDIRECT)
key("INIT.STUDENT_FROM", "",
    'Starting weights of the student (or of the only model): "", a .pyth file, or a config whose run is made first. A '
    "config is looked for beside the file that names it.")
key("INIT.TEACHER_FROM", "",
    "The frozen teacher: a .pyth file, or a config whose run is made first. TASK distill needs it.")
key("INIT.OPTS", [],
    "KEY, VALUE, ... applied to the configs named above, which also take over the keys of this run that are handed "
    "down: its seed, data paths and devices.")

group("TRAIN", "training")
key("TRAIN.ENABLE", True, "Train; else only evaluate.", role=PLACE)
key("TRAIN.DATASET", "",
    'Name of the dataset, for titles, tables and folders of runs; "" = the data\'s folder: Mine of data/Mine.',
    role=PLACE, inherited=True, theirs="kinetics")
key("TRAIN.BATCH_SIZE", 16,
    "Clips per machine and optimiser step (videos, each giving AUG.NUM_SAMPLE clips), all its GPUs together.",
    COUNT, scaled=True, theirs=64)
key("TRAIN.ACCUM_STEPS", 1,
    "Steps whose gradients are summed before the optimiser moves; BATCH_SIZE is divided among them.", COUNT)
key("TRAIN.EVAL_PERIOD", 1, "Validate every so many epochs (0 = never).", NOT_NEGATIVE, scaled=True, theirs=10)
key("TRAIN.CHECKPOINT_PERIOD", 1,
    "Save a checkpoint every so many epochs; the last epoch is always saved.",
    NOT_NEGATIVE, PLACE, scaled=True, theirs=10)
key("TRAIN.CHECKPOINT_STEPS", 0,
    "Save a resumable checkpoint every so many steps as well (0 = off).", NOT_NEGATIVE, PLACE, inherited=True)
key("TRAIN.KEEP_CHECKPOINTS", 1,
    "Checkpoints of past epochs to keep, besides best and last (0 = all).", NOT_NEGATIVE, PLACE)
key("TRAIN.AUTO_RESUME", True, "Resume from the newest checkpoint in OUTPUT_DIR; beats CHECKPOINT_FILE_PATH.", role=PLACE)
key("TRAIN.CHECKPOINT_FILE_PATH", "",
    "Start from the weights in this file, a path or a URL; FILE::KEY takes those under KEY, as a.pth::model_ema; "
    '"" = random initialisation.', role=INDIRECT, scaled=True)
key("TRAIN.CHECKPOINT_SOURCE", "auto",
    "Whose parameter names that file (or INIT.STUDENT_FROM's) has; authors_teacher: of the authors' two branches, the "
    "frozen one.", one_of(*SOURCES, "authors_teacher"))
key("TRAIN.CHECKPOINT_ALLOW", [],
    'Beginnings of our parameter names that such a file need not hold in our shape, as "head." for weights of another '
    "number of classes; these keep their random values.", Rule("beginnings of parameter names", _beginnings), scaled=True)
key("TRAIN.MIXED_PRECISION", False, "Automatic mixed precision.", inherited=True, scaled=True)
key("TRAIN.AMP_DTYPE", "auto",
    "Its type; auto: bf16 where the device computes it, else fp16.", one_of("auto", "bf16", "fp16"), inherited=True)
key("TRAIN.MOST_SKIPPED", 25,
    "Steps in a row that fp16's scaler may skip because the gradient is not finite: from its first scale, 2^16, 2^-9 "
    "by then.", COUNT, PLACE)
key("TRAIN.DETECT_ANOMALY", False,
    "PyTorch's anomaly detection: training ends at the first function of a backward pass that gives NaN, with the line of "
    "the forward pass it belongs to. Slow; with fp16 also at steps that the scaler would skip. tools/show_batch.py --bad "
    "FILE looks into a NaN afterwards.",
    role=PLACE, inherited=True)
key("TRAIN.COMPILE", False,
    "torch.compile of the training step: faster after minutes of compiling; results differ by rounding.", inherited=True)
key("TRAIN.FSDP", False,
    "Each process holds a part of the weights, gradients and optimiser state (FSDP2): less memory, the same result.",
    role=PLACE, inherited=True)

group("TEST", "evaluation", role=RESULTS)
key("TEST.ENABLE", True, "Evaluate.", role=PLACE)
key("TEST.DATASET", "",
    'Name of the dataset, for titles and tables; "" = TRAIN.DATASET.', role=PLACE, theirs="kinetics")
key("TEST.BATCH_SIZE", 16, "Views per machine and forward pass.", COUNT, PLACE, scaled=True, theirs=8)
key("TEST.SPLITS", ["known_val", "new_val", "known_test", "new_test"],
    "Splits that are scored.", some_of("known_val", "new_val", "known_test", "new_test"))
key("TEST.WHICH_CHECKPOINT", "last",
    "Which of the run's checkpoints is scored; best: of the highest mean of known_val and new_val in training.",
    one_of("last", "best"))
key("TEST.CHECKPOINT_FILE_PATH", "", "Score this file or URL instead of the run's own checkpoint.")
key("TEST.CHECKPOINT_SOURCE", "auto", "Whose parameter names that file has.", one_of(*SOURCES))
key("TEST.VIEWS_FROM", "spread",
    "Views in time. spread: evenly over the clip (one alone is its centre); start: one, from its first frame, whatever "
    "NUM_ENSEMBLE_VIEWS says.",
    one_of("spread", "start"), authors=Authors("start", "as TEST.NUM_ENSEMBLE_VIEWS; the code's view begins at frame 0"))
key("TEST.NUM_ENSEMBLE_VIEWS", 5, "Views of a clip in time that are averaged.",
    COUNT, authors=Authors(1, "five views of the reference configs; the code scores one"), theirs=10)
key("TEST.NUM_SPATIAL_CROPS", 1, "Views along the long side that are averaged.", one_of(1, 3), theirs=3)
key("TEST.ALLOW_MISSING", False,
    "Clips that cannot be read are left out of the scores and counted in results.json; else they end the evaluation "
    "with a message that names them all.")

group("DEMO", "prediction on any video files", role=PLACE)
key("DEMO.ENABLE", False, "Score the videos in INPUT_VIDEO.")
key("DEMO.INPUT_VIDEO", "", "A video file or a folder of them.")
key("DEMO.OUTPUT_FILE", "", 'The scores as CSV, one row per file; "" = scores.csv in OUTPUT_DIR.')
key("DEMO.PICTURES", "", 'A folder for a picture per file, of frames and the highest scores; "" = none.')
key("DEMO.DETECTOR", "blazepose",
    "For a model of skeletons: what finds the persons, blazepose or keypointrcnn. Joints in skeletons/NAME.npz beside "
    "the videos (datasets/extract_skeleton.py) are taken instead.")
key("DEMO.DETECTOR_WEIGHTS", "", "Weights of keypointrcnn, file or URL.")

group("SOLVER", "optimiser and schedule", scaled=True)
key("SOLVER.OPTIMIZING_METHOD", "adamw", "The optimiser.", one_of("adamw", "sgd"), theirs="sgd")
key("SOLVER.MAX_EPOCH", 10, "Epochs of training.", COUNT, theirs=300)
key("SOLVER.BASE_LR", 1e-4, "Learning rate per machine.", NOT_NEGATIVE, theirs=0.1)
key("SOLVER.BASE_LR_SCALE_NUM_SHARDS", False, "Multiply BASE_LR, COSINE_END_LR and WARMUP_START_LR by NUM_SHARDS.")
key("SOLVER.LR_POLICY", "cosine",
    "cosine: down to COSINE_END_LR; steps_with_relative_lrs: from epoch STEPS[i] on LRS[i] times BASE_LR.",
    one_of("cosine", "constant", "steps_with_relative_lrs"))
key("SOLVER.STEPS", [], "Epochs from which the learning rate is another, from 0 on.")
key("SOLVER.LRS", [], "Shares of BASE_LR from each of these on.")
key("SOLVER.COSINE_END_LR", 1e-6, "Learning rate at the end of the cosine.", NOT_NEGATIVE, theirs=0.0)
key("SOLVER.COSINE_AFTER_WARMUP", True, "The cosine begins after the warm-up instead of under it.", theirs=False)
key("SOLVER.WARMUP_EPOCHS", 1.0, "Epochs of linear warm-up.", NOT_NEGATIVE, theirs=0.0,
    authors=Authors(30.0, "5.1 gives a rate of 1e-4; the authors' file asks for 30 epochs of 10"))
key("SOLVER.WARMUP_START_LR", 1e-6, "Learning rate at the beginning of the warm-up.", NOT_NEGATIVE, theirs=0.01)
key("SOLVER.MOMENTUM", 0.9, "Momentum of SGD.", BELOW_1)
key("SOLVER.BETAS", [0.9, 0.999], "Betas of AdamW.", numbers(2, ALL_BELOW_1))
key("SOLVER.WEIGHT_DECAY", 0.05, "Weight decay.", NOT_NEGATIVE, theirs=0.0001)
key("SOLVER.ZERO_WD_1D_PARAM", True, "No weight decay on biases and norms.", theirs=False)
key("SOLVER.CLIP_GRAD_L2NORM", 1.0, "Clip the gradient's L2 norm to this (0 = off).", NOT_NEGATIVE, theirs=None)

group("TENSORBOARD", role=PLACE)
key("TENSORBOARD.ENABLE", True, "Write scalars for TensorBoard to OUTPUT_DIR/tensorboard.", inherited=True, theirs=False)
