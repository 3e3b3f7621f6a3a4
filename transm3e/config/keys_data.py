# fmt: off
"""Keys of the data: which, how clips are read, augmented and loaded.

A table, which a formatter would take apart: the name and default of a key, its meaning, what else is known of it
(transm3e.config.schema.key). A key of PySlowFast's name means here what it means there.
"""

from __future__ import annotations

from transm3e.config.schema import (
    ABOVE_0,
    ALL_ABOVE_0,
    COUNT,
    INDIRECT,
    NETWORK,
    NOT_NEGATIVE,
    PLACE,
    READING,
    RESULTS,
    RISING,
    SCORES,
    SHARE,
    Authors,
    among,
    group,
    key,
    number,
    numbers,
    one_of,
)
from transm3e.joints import COORDINATES, LAYOUTS
from transm3e.modalities import MODALITIES

# This decoder works in the process that trains.
CUDA_DECODER = "torchcodec_cuda"
# PySlowFast's files name it; torchvision has no video reading any more.
FORMER_DECODER = "torchvision"
_WITHIN_FRAME = (lambda shares: shares[1] <= 1, "it must end at 1, the whole frame, or below")

group("DATA", "data, and how clips are read")
key("DATA.PATH_TO_DATA_DIR", "", "The clip table, or the folder that holds clips.csv.", role=INDIRECT, inherited=True)
key("DATA.PATH_PREFIX", "",
    'Root of the paths in the clip table; "" = the table\'s folder.', role=INDIRECT, inherited=True)
key("DATA.MODALITY", "rgb",
    "What the model sees: frames of pixels, or for graph models skeletons: joints, bones, their motion.",
    among(lambda: MODALITIES), NETWORK)
key("DATA.TARGET", "auto",
    "What is predicted: muscles, or the activity, one of those in train (Kinetics); auto: the activity where "
    "MODEL.LOSS_FUNC is cross_entropy or soft_cross_entropy, else muscles.",
    one_of("auto", "muscles", "activity"), SCORES, may_change=True)
key("DATA.ENSEMBLE_METHOD", "sum",
    "Views of a clip are averaged (sum, PySlowFast's name), or the highest score of each class is taken.",
    one_of("sum", "max"), RESULTS)
key("DATA.NUM_FRAMES", 16, "Frames of a clip.", COUNT, NETWORK, compared=("tokens", "logits"), scaled=True, theirs=8)
key("DATA.SAMPLING_RATE", 4, "The step between them in frames of the video.", COUNT, READING, theirs=8)
key("DATA.TARGET_FPS", 30.0,
    "A video is played at so many frames per second before its frames are counted (nearest frame in time); 0 = its own "
    "rate. Folders of pictures have no clock and are counted.", NOT_NEGATIVE, READING)
key("DATA.FRAME_INDICES", "stride",
    "Frames of a clip. stride: start + SAMPLING_RATE * i; linspace: PySlowFast's, spread evenly over NUM_FRAMES * "
    "SAMPLING_RATE frames and rounded down, for checkpoints that were trained so. Exactly PySlowFast's frames where "
    "the video's own rate is TARGET_FPS; at other rates some are one or two frames off.",
    one_of("stride", "linspace"), READING,
    authors=Authors("linspace", "16 frames, stride 4; the code spreads 16 over 64 frames"))
key("DATA.SHORT_CLIPS", "hold",
    "A video shorter than the clip: hold its last frame, or loop.", one_of("hold", "loop"), READING)
key("DATA.DECODING_BACKEND", "pyav",
    "Who decodes. torchcodec_cuda: NVDEC, needs DATA_LOADER.NUM_WORKERS 0; opencv: for comparison, it says nothing of "
    "damaged files; torchvision: PySlowFast's name, pyav decodes.",
    one_of("pyav", "torchcodec", CUDA_DECODER, "opencv", FORMER_DECODER), theirs="torchvision")
key("DATA.TRAIN_CROP_SIZE", 224, "Side of the square clip in training, in pixels.",
    COUNT, NETWORK, compared=("tokens", "logits"), scaled=True)
key("DATA.TEST_CROP_SIZE", 224, "Side of the square clip in evaluation, in pixels.", COUNT, scaled=True, theirs=256)
key("DATA.RESIZE", "mipmap",
    "How crops are resized. mipmap: 2x2 means while more than twice too large, then bilinear; bilinear and bicubic: "
    "areas are averaged beyond a factor of 2 (the same to the eye, several times as slow there).",
    one_of("mipmap", "bilinear", "bicubic", "area"), READING)
key("DATA.TRAIN_JITTER_SCALES_RELATIVE", [0.08, 1.0],
    "Random resized crop in training: range of its share of the frame's area.",
    numbers(2, ALL_ABOVE_0, RISING, _WITHIN_FRAME), scaled=True, theirs=[])
key("DATA.TRAIN_JITTER_ASPECT_RELATIVE", [0.75, 1.3333],
    "Random resized crop in training: range of the aspect ratio.", numbers(2, ALL_ABOVE_0, RISING), theirs=[])
key("DATA.RANDOM_FLIP", True, "Flip half of the training clips.")
key("DATA.MEAN", [0.45, 0.45, 0.45],
    "Channel means of pixels in [0, 1].", numbers(3), READING,
    authors=Authors([0.0] * 3, "MViTv2's, as the pretraining; the code leaves RGB in [0, 1]"))
key("DATA.STD", [0.225, 0.225, 0.225],
    "Channel standard deviations of pixels in [0, 1].", numbers(3, ALL_ABOVE_0), READING,
    authors=Authors([1.0] * 3, "as DATA.MEAN"))
key("DATA.DECODE_TIMEOUT", 60.0,
    "Seconds after which a file that does not decode is given up and named.", ABOVE_0, PLACE, inherited=True)

group("AUG", "augmentation of training clips", scaled=True)
key("AUG.ENABLE", True, "False: training clips are only cropped and flipped.", theirs=False,
    authors=Authors(False, "D.3 names colour jitter; the code crops and flips only"))
key("AUG.NUM_SAMPLE", 1, "Augmented clips drawn from each video of a batch.", COUNT)
key("AUG.SAMPLE_DISTANCE", -1,
    "The most frames between the starts of these clips; -1 = each is drawn anywhere in the video. Few frames apart, "
    "one decode serves them all, but they show nearly the same moment; 0 = the same frames, cropped differently.",
    number("-1 or more", (lambda frames: frames >= -1, "it must be -1 (anywhere), 0 or more frames")),
    authors=Authors(0, "C.8, two start indices drawn at random; the code crops one window twice"))
key("AUG.AA_TYPE", "rand-m7-n4-mstd0.5-inc1",
    "RandAugment, as timm names it: magnitude m, n operations, noise mstd on m, inc1: operations that grow with m; "
    '"" = off.', theirs="rand-m9-mstd0.5-inc1")
key("AUG.ORDER", "crop_first",
    "crop_first: fast; augment_first: PySlowFast's, RandAugment on the whole frame, then the crop.",
    one_of("crop_first", "augment_first"))
key("AUG.INTERPOLATION", "bilinear",
    "Of RandAugment's warps; bicubic is six times as slow.", one_of("bilinear", "bicubic"), theirs="bicubic")
key("AUG.COLOR_JITTER", 0.4, "Brightness, contrast and saturation factors are drawn from [1 - x, 1 + x].", NOT_NEGATIVE)
key("AUG.RE_PROB", 0.25, "Probability that boxes are erased.", SHARE)
key("AUG.RE_MODE", "pixel", "What fills them. pixel: noise; rand: one colour; const: grey.", one_of("pixel", "rand", "const"))
key("AUG.RE_COUNT", 1, "The most of them.", COUNT)
key("AUG.TEMPO", [1.0, 1.0],
    "A clip is so many times as fast as its video, at least and at most (log-uniform; the video is then played back "
    "and forth from anywhere).", numbers(2, ALL_ABOVE_0, RISING))
key("AUG.PAUSES", 0.0, "This share of a clip's time stands still.", SHARE)
key("AUG.JOINT_TURN", 0.0, "Of joints in space: the most degrees around the vertical axis.", NOT_NEGATIVE)
key("AUG.JOINT_TILT", 0.0, "Of joints: the most degrees around the other axes.", NOT_NEGATIVE)
key("AUG.JOINT_STRETCH", 0.0, "Of joints: each axis is scaled by up to 1 -+ this.", SHARE)
key("AUG.JOINT_NOISE", 0.0, "Of joints: the standard deviation of their error in body sizes, drawn for each clip from 0 to twice this.", NOT_NEGATIVE)
key("AUG.JOINT_DROPOUT", 0.0, "Of joints: probability that feet, hands or the head are missing.", SHARE)

group("MIXUP", "Mixup and CutMix of training batches: each video with another one of its batch, labels likewise")
key("MIXUP.ENABLE", False, "Mix.")
key("MIXUP.ALPHA", 0.8, "Shares of mixup are drawn from Beta(ALPHA, ALPHA); 0 = without it.", NOT_NEGATIVE)
key("MIXUP.CUTMIX_ALPHA", 1.0, "Shares of CutMix are drawn from Beta(CUTMIX_ALPHA, CUTMIX_ALPHA); 0 = without it.", NOT_NEGATIVE)
key("MIXUP.PROB", 1.0, "Share of batches that are mixed.", SHARE)
key("MIXUP.SWITCH_PROB", 0.5, "Of these, the share of CutMix.", SHARE)
key("MIXUP.LABEL_SMOOTH_VALUE", 0.1,
    "Every label y becomes y (1 - s) + s / 2; with DATA.TARGET activity, of C classes, y (1 - s) + s / C.", SHARE)

group("DATA_LOADER", "processes that load data", role=PLACE, inherited=True)
key("DATA_LOADER.NUM_WORKERS", 2,
    "Processes that load data, per process that trains; 0 = load in the training process.",
    NOT_NEGATIVE, scaled=True, theirs=8)
key("DATA_LOADER.PIN_MEMORY", True, "Page-locked memory for faster copies to the GPU.")

group("SKELETON", "skeletons that graph models read", role=NETWORK, of_model=True)
key("SKELETON.LAYOUT", "coco17",
    "Joints; body23: COCO-17 with heels, toes and index fingers, which may be missing. Files of another layout are "
    "turned into it.", one_of(*LAYOUTS))
key("SKELETON.NUM_PERSONS", 2, "Persons of a clip, those seen best; zeros where there are fewer.", COUNT)
key("SKELETON.NORMALIZE", "frame",
    "Coordinates. frame: -1 to 1 over the crop; body: from the first person's hips in torso lengths (in space also "
    "turned to face the camera).", one_of("frame", "body"))
key("SKELETON.COORDINATES", "image",
    "image: joints as the camera sees them; world: in space, metres from the hips, as BlazePose gives them.",
    one_of(*COORDINATES))
