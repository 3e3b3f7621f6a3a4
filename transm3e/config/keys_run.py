# fmt: off
"""Keys of the run as a whole: processes, starting weights, training, evaluation, prediction, optimiser.

A table, kept from the formatter: name, default, meaning, then allowed values and other facts of each key, see
transm3e.config.schema.key. Keys that PySlowFast also has mean the same here.
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
    SHARE,
    Authors,
    Rule,
    beginnings,
    group,
    key,
    number,
    numbers,
    one_of,
    some_of,
)

# Projects whose parameter names can be read.
SOURCES = (
    "auto", "transm3e", "torchvision", "pyslowfast", "pytorchvideo", "timm", "videoswin", "mmaction", "stgcn", "authors",
)


key("TASK", "classify",
    "What is trained. classify: one model; distill: a student that learns from a frozen teacher (group DISTILL); "
    "har_lookup: a model of activities, whose muscles are then looked up (group LOOKUP).",
    one_of("classify", "distill", "har_lookup"), theirs="")
key("PROTOCOL", "paper",
    "Which defaults to use: the paper's, those of the authors' published code, or PySlowFast's (--help-keys PROTOCOL lists "
    "what differs). A key set in a file or on the command line takes precedence. Configs named in INIT inherit PROTOCOL "
    "unless their files set it.", one_of("paper", "authors_code", "pyslowfast"), INDIRECT)
key("IMPORTS", [],
    "Your Python files that register models, losses, distillers or keys (CONTRIBUTING.md). Those of all bases, of the "
    "config and of --import are imported before anything else. Paths are relative to the file that names them.",
    role=INDIRECT, inherited=True)
key("NUM_GPUS", 1,
    "Number of GPUs per host; 0 = CPU. Each GPU gets one process, started by this program or by torchrun.",
    NOT_NEGATIVE, PLACE, inherited=True)
key("CPU_THREADS", 0,
    "CPU threads of each process; 0 = PyTorch's choice. On few cores, leave one core to each data-loading worker: "
    "threads that wait for each other cost far more than they gain.",
    NOT_NEGATIVE, PLACE, inherited=True, scaled=True)
key("NUM_SHARDS", 1, "Number of hosts (set by --num_shards).", COUNT, inherited=True)
key("SHARD_ID", 0, "Number of this host, from 0 to NUM_SHARDS - 1 (set by --shard_id).", NOT_NEGATIVE, PLACE, inherited=True)
key("DIST_BACKEND", "nccl", "Backend of torch.distributed on GPUs; CPUs always use gloo.", role=PLACE, inherited=True)
key("DIST_TIMEOUT", 600.0,
    "Seconds that processes wait for one that does not start or does not respond; then the run ends with a message that "
    "names it.",
    ABOVE_0, PLACE, inherited=True)
key("RNG_SEED", 0,
    "Seed of all random numbers: initial weights, data order, augmentation, dropout.", SEED, inherited=True, theirs=1)
key("DETERMINISTIC", False,
    "On GPUs, use deterministic operations only: bitwise the same results in every run, slower, and an error where an "
    "operation has no deterministic version. CPUs are always deterministic.", role=PLACE, inherited=True)
key("OUTPUT_DIR", "",
    'Folder of this run; "" = RUNS_DIR/<config name>-<dataset>-<hash of the data and of settings that change results>.',
    role=PLACE, theirs=".")
key("RUNS_DIR", "runs",
    "Parent folder of runs without OUTPUT_DIR, including the runs that INIT names.", role=PLACE, inherited=True)
key("LOG_PERIOD", 10, "Training steps between two log lines.", COUNT, PLACE, scaled=True)
key("LOG_MODEL_INFO", True, "Log the model's parameter count at the start of training.", role=PLACE)

group("INIT", "starting weights", role=INDIRECT)
key("INIT.STUDENT_FROM", "",
    'Starting weights of the student, or of the only model: a .pyth file, or a config, which is trained first unless done; '
    '"" = none. A config\'s path is relative to the file that names it.')
key("INIT.TEACHER_FROM", "",
    "Weights of the frozen teacher, required by TASK distill: a .pyth file, or a config, which is trained first unless done.")
key("INIT.OPTS", [],
    "KEY, VALUE, ... set in the configs that STUDENT_FROM and TEACHER_FROM name. They also inherit the keys marked "
    "inherited here: seed, data paths, devices and others.")

group("TRAIN", "training")
key("TRAIN.ENABLE", True, "Train; False: only evaluate or predict.", role=PLACE)
key("TRAIN.DATASET", "",
    'Name of the dataset in titles, tables and run folders; "" = the name of the data folder, as Mine for data/Mine.',
    role=PLACE, inherited=True, theirs="kinetics")
key("TRAIN.BATCH_SIZE", 16,
    "Videos per host and optimiser step, over all its GPUs; each gives AUG.NUM_SAMPLE clips.",
    COUNT, scaled=True, theirs=64)
key("TRAIN.ACCUM_STEPS", 1,
    "Gradient accumulation: number of forward and backward passes per optimiser step, among which BATCH_SIZE is "
    "divided.", COUNT)
key("TRAIN.EVAL_PERIOD", 1, "Epochs between two validations; 0 = never validate.", NOT_NEGATIVE, scaled=True, theirs=10)
key("TRAIN.CHECKPOINT_PERIOD", 1,
    "Epochs between two checkpoints; the last epoch is always saved; 0 = only the last.",
    NOT_NEGATIVE, PLACE, scaled=True, theirs=10)
key("TRAIN.CHECKPOINT_STEPS", 0,
    "Training steps between two further checkpoints within an epoch, to resume from; 0 = off.",
    NOT_NEGATIVE, PLACE, inherited=True)
key("TRAIN.KEEP_CHECKPOINTS", 1,
    "Number of epoch checkpoints to keep, besides best and last; 0 = all.", NOT_NEGATIVE, PLACE)
key("TRAIN.AUTO_RESUME", True,
    "Resume from the newest checkpoint in OUTPUT_DIR, if there is one; takes precedence over "
    "CHECKPOINT_FILE_PATH.", role=PLACE)
key("TRAIN.CHECKPOINT_FILE_PATH", "",
    "Starting weights: path or URL of a file; FILE::KEY reads the weights under KEY, as a.pth::model_ema; "
    '"" = random initialisation.', role=INDIRECT, scaled=True)
key("TRAIN.CHECKPOINT_SOURCE", "auto",
    "Project whose parameter names CHECKPOINT_FILE_PATH (or INIT.STUDENT_FROM) has; auto: recognised by the names; "
    "authors_teacher: the frozen branch of the authors' checkpoint.", one_of(*SOURCES, "authors_teacher"))
key("TRAIN.CHECKPOINT_ALLOW", [],
    'Beginnings of our parameter names that may be missing from that file or have another shape, as "head." for weights of '
    "another number of classes; these parameters keep their random initialisation.",
    Rule("beginnings of parameter names", beginnings), scaled=True)
key("TRAIN.MIXED_PRECISION", False, "Automatic mixed precision.", inherited=True, scaled=True)
key("TRAIN.AMP_DTYPE", "auto",
    "Data type of mixed precision; auto: bf16 where the device supports it, else fp16.",
    one_of("auto", "bf16", "fp16"), inherited=True)
key("TRAIN.MOST_SKIPPED", 25,
    "With fp16, a step whose gradient is not finite is skipped; the step that would be this many in a row ends training with "
    "an error instead. Each skip halves the loss scale: 25 would take it from 2^16 to 2^-9.", COUNT, PLACE)
key("TRAIN.DETECT_ANOMALY", False,
    "PyTorch's anomaly detection: training ends at the first operation of a backward pass that gives NaN, with the line of "
    "the forward pass it belongs to. Slow; with fp16 it also ends at steps that the loss scaler would skip. To examine a "
    "NaN afterwards use tools/show_batch.py --bad FILE.",
    role=PLACE, inherited=True)
key("TRAIN.COMPILE", False,
    "Compile the training step with torch.compile: faster after minutes of compiling; results differ by rounding.",
    inherited=True)
key("TRAIN.FSDP", False,
    "FSDP2: weights, gradients and optimiser state are sharded over the processes: less memory, the same result.",
    role=PLACE, inherited=True)

group("TEST", "evaluation", role=RESULTS)
key("TEST.ENABLE", True, "Evaluate.", role=PLACE)
key("TEST.DATASET", "",
    'Name of the dataset in titles and tables of the evaluation; "" = TRAIN.DATASET.', role=PLACE, theirs="kinetics")
key("TEST.BATCH_SIZE", 16, "Views per host and forward pass, over all its GPUs.", COUNT, PLACE, scaled=True, theirs=8)
key("TEST.SPLITS", ["known_val", "new_val", "known_test", "new_test"],
    "Splits that are scored.", some_of("known_val", "new_val", "known_test", "new_test"))
key("TEST.WHICH_CHECKPOINT", "last",
    "Which checkpoint of the run is scored; best: the one with the highest mean of the scores on known_val and new_val "
    "during training.",
    one_of("last", "best"))
key("TEST.CHECKPOINT_FILE_PATH", "", 'Path or URL of a checkpoint to score instead of the run\'s own; "" = the run\'s own.')
key("TEST.CHECKPOINT_SOURCE", "auto",
    "Project whose parameter names that checkpoint has; auto: recognised by the names.", one_of(*SOURCES))
key("TEST.VIEWS_FROM", "spread",
    "Where the N views of a clip are placed in time, each as a share of the last start that fits. spread: from 0 to 1 (a "
    "single view at the centre); start: one view from the first frame, whatever NUM_ENSEMBLE_VIEWS is; shares: as PySlowFast, "
    "0 to (N - 1) / N, or with DATA.USE_OFFSET_SAMPLING as spread, with a step that is rounded down.",
    one_of("spread", "start", "shares"), theirs="shares", authors=Authors("start", "as TEST.NUM_ENSEMBLE_VIEWS; the code's view begins at frame 0"))
key("TEST.NUM_ENSEMBLE_VIEWS", 5, "Number of views of a clip in time; DATA.ENSEMBLE_METHOD combines their scores.",
    COUNT, authors=Authors(1, "five views of the reference configs; the code scores one"), theirs=10)
key("TEST.NUM_SPATIAL_CROPS", 1,
    "Number of crops of each view: 1 at the centre, or 3 along the frame's longer side.", one_of(1, 3), theirs=3)
key("TEST.MIXED_PRECISION", "as_trained",
    "Data type of evaluation and prediction. as_trained: that of training on this device, see TRAIN.MIXED_PRECISION; off: "
    "fp32.", one_of("as_trained", "off", "bf16", "fp16"), new=True)
key("TEST.THRESHOLD", 0.05,
    "Score from which a muscle counts as predicted, for precision, recall, F1 and figures of errors (paper, D.3).",
    SHARE, new=True)
key("TEST.ALLOW_MISSING", False,
    "Leave clips that cannot be read out of the scores and count them in results.json; False: they end the evaluation "
    "with a message that names them all.")

group("DEMO", "prediction on video files", role=PLACE)
key("DEMO.ENABLE", False, "Score the videos in INPUT_VIDEO.")
key("DEMO.INPUT_VIDEO", "", "Path of a video file, or of a folder of video files.")
key("DEMO.OUTPUT_FILE", "",
    'CSV file for the scores, one row per video; "" = scores.csv in OUTPUT_DIR. Or, for one video, an .mp4 or .gif file '
    "for its overlay, see OVERLAYS.")
key("DEMO.OVERLAYS", "",
    "Folder for one overlay video (.mp4) per video: its frames and joints, a body map and the highest scores as they "
    'change over time, and a timeline of all muscles; "" = none.')
key("DEMO.WINDOW", 0.0,
    "Seconds of the windows that are scored beside the whole videos, one row per window and muscle in "
    "..._windows.csv beside the scores; 0 = none, and 3 for overlays.", NOT_NEGATIVE)
key("DEMO.STRIDE", 1.0, "Seconds from the start of one window to the next.", ABOVE_0)
key("DEMO.PICTURES", "", 'Folder for one figure per video, which shows frames and the highest scores; "" = no figures.')
key("DEMO.DETECTOR", "blazepose",
    "Pose detector for skeleton models: blazepose or keypointrcnn. It is not used for videos whose joints are in "
    "skeletons/NAME.npz beside them (datasets/extract_skeleton.py).")
key("DEMO.DETECTOR_WEIGHTS", "", "Path or URL of the weights of keypointrcnn.")

group("SOLVER", "optimiser and schedule", scaled=True)
key("SOLVER.OPTIMIZING_METHOD", "adamw", "Optimiser.", one_of("adamw", "sgd"), theirs="sgd")
key("SOLVER.MAX_EPOCH", 10, "Number of training epochs.", COUNT, theirs=300)
key("SOLVER.BASE_LR", 1e-4,
    "Learning rate after warm-up, for the batch of one host (see BASE_LR_SCALE_NUM_SHARDS).", NOT_NEGATIVE, theirs=0.1)
key("SOLVER.BASE_LR_SCALE_NUM_SHARDS", False,
    "Multiply BASE_LR, COSINE_END_LR and WARMUP_START_LR by the number of hosts, NUM_SHARDS.")
key("SOLVER.LR_POLICY", "cosine",
    "Learning rate schedule. cosine: from BASE_LR to COSINE_END_LR; constant: BASE_LR; steps_with_relative_lrs: LRS[i] times "
    "BASE_LR from epoch STEPS[i] on.",
    one_of("cosine", "constant", "steps_with_relative_lrs"))
key("SOLVER.STEPS", [], "For steps_with_relative_lrs: rising epochs at which the learning rate changes; the first is 0.")
key("SOLVER.LRS", [], "For steps_with_relative_lrs: factors on BASE_LR, one for each of STEPS; more are not used.")
key("SOLVER.COSINE_END_LR", 1e-6, "Learning rate at the end of the cosine.", NOT_NEGATIVE, theirs=0.0)
key("SOLVER.COSINE_AFTER_WARMUP", True,
    "Start the cosine after the warm-up; False: at epoch 0, so that the warm-up covers its first part.", theirs=False)
key("SOLVER.WARMUP_EPOCHS", 1.0, "Number of epochs of linear warm-up; 0 = none.", NOT_NEGATIVE, theirs=0.0,
    authors=Authors(30.0, "5.1 gives a rate of 1e-4; the authors' file asks for 30 epochs of 10"))
key("SOLVER.WARMUP_START_LR", 1e-6, "Learning rate at the beginning of the warm-up.", NOT_NEGATIVE, theirs=0.01)
key("SOLVER.MOMENTUM", 0.9, "Momentum of SGD.", BELOW_1)
key("SOLVER.NESTEROV", True, "SGD: Nesterov momentum, where MOMENTUM is above 0.", new=True)
key("SOLVER.DAMPENING", 0.0, "SGD: dampening of the momentum; above 0 it needs NESTEROV False.", SHARE, new=True)
key("SOLVER.LAYER_DECAY", 1.0,
    "Transformers: the learning rate of block i of N (from 0) is multiplied by this to the power of N - i, that of the patch "
    "embedding and class token to the power of N + 1; 1 = off.",
    number("above 0, to 1", (lambda n: 0 < n <= 1, "it must be above 0 and at most 1")), new=True)
key("SOLVER.BETAS", [0.9, 0.999], "Betas of AdamW.", numbers(2, ALL_BELOW_1))
key("SOLVER.WEIGHT_DECAY", 0.05, "Weight decay.", NOT_NEGATIVE, theirs=0.0001)
key("SOLVER.ZERO_WD_1D_PARAM", True, "Apply no weight decay to biases and norms.", theirs=False)
key("SOLVER.CLIP_GRAD_L2NORM", 1.0, "Clip the gradient to this L2 norm; 0 = off.", NOT_NEGATIVE, theirs=None)
key("SOLVER.CLIP_GRAD_VAL", 0.0,
    "Clip each number of the gradient to [-x, x], where x is this value, instead of CLIP_GRAD_L2NORM; 0 = off.",
    NOT_NEGATIVE, theirs=None, new=True)
key("SOLVER.EMA_DECAY", 0.0,
    "Exponential moving average of the weights: after each step average = EMA_DECAY x average + (1 - EMA_DECAY) x weights. "
    "The average is what is evaluated, and the weights that checkpoints give to whatever reads them; 0 = off.",
    BELOW_1, new=True)
key("SOLVER.EARLY_STOP", 0,
    "End training after this many validations (TRAIN.EVAL_PERIOD) in a row without a new best score; TEST.WHICH_CHECKPOINT "
    "best scores the best; 0 = off.", NOT_NEGATIVE, new=True)

group("LOG", "logs", role=PLACE)
key("LOG.BACKENDS", ["tensorboard"],
    "Where scalars, figures and the config of a run go: tensorboard (unless TENSORBOARD.ENABLE is False), csv (metrics.csv "
    "in OUTPUT_DIR), wandb, mlflow (packages to install).",
    some_of("tensorboard", "wandb", "mlflow", "csv"), inherited=True)

group("TENSORBOARD", role=PLACE)
key("TENSORBOARD.ENABLE", True, "Write scalars for TensorBoard to OUTPUT_DIR/tensorboard.", inherited=True, theirs=False)

group("TENSORBOARD.MODEL_VIS", "what LOG.BACKENDS get of the model, after each epoch", role=PLACE)
key("TENSORBOARD.MODEL_VIS.ENABLE", False, "Write what follows.")
key("TENSORBOARD.MODEL_VIS.MODEL_WEIGHTS", False, "Histograms of the weights.")
key("TENSORBOARD.MODEL_VIS.LAYER_LIST", [],
    "Only of these layers: beginnings of names of parameters; [] = all.", Rule("beginnings of parameter names", beginnings))
