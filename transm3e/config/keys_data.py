# fmt: off
"""Keys of the data: the dataset, and how clips are read, augmented and loaded.

A table, kept from the formatter: name, default, meaning, then allowed values and other facts of each key, see
transm3e.config.schema.key. Keys that PySlowFast also has mean the same here.
"""

from __future__ import annotations

from transm3e.config.schema import (
    ABOVE_0,
    ALL_ABOVE_0,
    BELOW_1,
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
    or_none,
)
from transm3e.joints import COORDINATES, LAYOUTS
from transm3e.modalities import MODALITIES

# Decodes in the training process.
CUDA_DECODER = "torchcodec_cuda"
# Named in PySlowFast's configs; torchvision no longer reads video.
FORMER_DECODER = "torchvision"
_WITHIN_FRAME = (lambda shares: shares[1] <= 1, "it must end at 1, the whole frame, or below")

group("DATA", "the data, and how clips are read")
key("DATA.PATH_TO_DATA_DIR", "",
    "Path of the clip table, or of the folder that holds it as clips.csv.", role=INDIRECT, inherited=True)
key("DATA.PATH_PREFIX", "",
    'Folder that paths in the clip table are relative to; "" = the table\'s folder.', role=INDIRECT, inherited=True)
key("DATA.MODALITY", "rgb",
    "What the model reads: pixels (RGB, RGB difference, flow) or, for skeleton models, joints, bones or their motion.",
    among(lambda: MODALITIES), NETWORK)
key("DATA.TARGET", "auto",
    "What is predicted. muscles; activity: one of the activities of the train split; auto: activity where "
    "MODEL.LOSS_FUNC is cross_entropy or soft_cross_entropy, else muscles.",
    one_of("auto", "muscles", "activity"), SCORES, may_change=True)
key("DATA.MULTI_LABEL", False,
    "Activities do not exclude each other, as in Charades: a clip's are joined by \";\" in the clip table, any number of them, "
    "and they are scored by mAP. DATA.TARGET auto is then activity; muscles always are of this kind.", role=SCORES, new=True)
key("DATA.ENSEMBLE_METHOD", "sum",
    "How the scores of a clip's views are combined. sum (PySlowFast's name): their mean; max: the highest of each class.",
    one_of("sum", "max"), RESULTS)
key("DATA.NUM_FRAMES", 16,
    "Number of frames of a clip.", COUNT, NETWORK, compared=("tokens", "logits"), scaled=True, theirs=8)
key("DATA.SAMPLING_RATE", 4,
    "Step between the frames of a clip, in frames of the video at TARGET_FPS.", COUNT, READING, theirs=8)
key("DATA.TARGET_FPS", 30.0,
    "Frame rate, in frames per second, at which frames are sampled (nearest frame in time); 0 = the video's own rate. "
    "Folders of images have no time stamps: every image counts as one frame.", NOT_NEGATIVE, READING)
key("DATA.FRAME_INDICES", "stride",
    "Which frames a clip has. stride: start + SAMPLING_RATE * i; linspace: as PySlowFast, spread evenly over NUM_FRAMES * "
    "SAMPLING_RATE frames and rounded down, for checkpoints trained with it (its decoders, which differ from each other, "
    "are a frame or two off); segments: as its loader of Something-Something, the video in NUM_FRAMES equal parts, a random "
    "frame of each in training and the middle one in evaluation, which makes a single view.",
    one_of("stride", "linspace", "segments"), READING, theirs="linspace",
    authors=Authors("linspace", "16 frames, stride 4; the code spreads 16 over 64 frames"))
key("DATA.SHORT_CLIPS", "hold",
    "How a video shorter than the clip is filled up. hold: repeat its last frame; loop: start again from its "
    "first.", one_of("hold", "loop"), READING)
key("DATA.DECODING_BACKEND", "pyav",
    "Video decoder. torchcodec_cuda: NVDEC on the GPU, needs DATA_LOADER.NUM_WORKERS 0; opencv: for comparison only, it does "
    "not report damaged files; torchvision: accepted for PySlowFast's configs, pyav decodes.",
    one_of("pyav", "torchcodec", CUDA_DECODER, "opencv", FORMER_DECODER), theirs="torchvision")
key("DATA.TRAIN_CROP_SIZE", 224, "Side of the square crop in training, in pixels.",
    COUNT, NETWORK, compared=("tokens", "logits"), scaled=True)
key("DATA.TEST_CROP_SIZE", 224, "Side of the square crop in evaluation, in pixels.", COUNT, scaled=True, theirs=256)
key("DATA.TEST_SCALE", 0,
    "Short side in pixels to which frames are resized in evaluation before TEST_CROP_SIZE is cropped; 0: TEST_CROP_SIZE, the "
    "whole short side; -1: as PySlowFast, with one spatial crop the first of TRAIN_JITTER_SCALES, with three TEST_CROP_SIZE.",
    number("-1 or more", (lambda pixels: pixels >= -1, "it must be -1, 0 or a number of pixels")), scaled=True, new=True,
    theirs=-1, authors=Authors(-1, "not given; the code scales the short side to 256 and takes the centre 224"))
key("DATA.DECODING_SHORT_SIZE", 0,
    "Short side in pixels to which frames are resized as they are decoded, before augmentation; 0: not. Only where RGB is all "
    "that is read.", NOT_NEGATIVE, READING, theirs=256, new=True, scaled=True)
key("DATA.USE_OFFSET_SAMPLING", False,
    "For TEST.VIEWS_FROM shares: views from the first to the last start that fits, a single view at the centre.",
    role=RESULTS, new=True)
key("DATA.RESIZE", "mipmap",
    "How crops are resized. mipmap: halved by 2x2 means while more than twice the target size, then bilinear; bilinear, "
    "bicubic: averaged by area when shrinking by more than 2 (looks the same, several times slower there); area: always "
    "averaged by area; two_by_two: as PySlowFast, bilinear without averaging, which skips pixels when shrinking by more than 2.",
    one_of("mipmap", "bilinear", "bicubic", "area", "two_by_two"), READING, theirs="two_by_two")
key("DATA.TRAIN_JITTER_SCALES", [256, 320],
    "Training crops where TRAIN_JITTER_SCALES_RELATIVE is []: the short side is resized to a size drawn from this range, in "
    "pixels, and TRAIN_CROP_SIZE is cropped anywhere.", numbers(2, ALL_ABOVE_0, RISING, whole=True), new=True)
key("DATA.INV_UNIFORM_SAMPLE", False,
    "For TRAIN_JITTER_SCALES: draw the reciprocal of the size uniformly instead of the size.", new=True)
key("DATA.TRAIN_JITTER_SCALES_RELATIVE", [0.08, 1.0],
    "Random resized crop in training: smallest and largest share of the frame's area, in (0, 1]; [] = no such crop, but one "
    "by TRAIN_JITTER_SCALES.",
    or_none(numbers(2, ALL_ABOVE_0, RISING, _WITHIN_FRAME)), scaled=True, theirs=[])
key("DATA.TRAIN_JITTER_ASPECT_RELATIVE", [0.75, 1.3333],
    "Random resized crop in training: smallest and largest aspect ratio, width / height.",
    or_none(numbers(2, ALL_ABOVE_0, RISING)), theirs=[])
key("DATA.RANDOM_FLIP", True, "Flip training clips left to right with probability 0.5.")
key("DATA.MEAN", [0.45, 0.45, 0.45],
    "Mean of each channel that is subtracted from pixels in [0, 1].", numbers(3), READING,
    authors=Authors([0.0] * 3, "MViTv2's, as the pretraining; the code leaves RGB in [0, 1]"))
key("DATA.STD", [0.225, 0.225, 0.225],
    "Standard deviation of each channel that pixels in [0, 1] are divided by, after MEAN is subtracted.",
    numbers(3, ALL_ABOVE_0), READING,
    authors=Authors([1.0] * 3, "as DATA.MEAN"))
key("DATA.REVERSE_INPUT_CHANNEL", False, "The modality rgb is BGR, after MEAN and STD are applied.", role=READING, new=True)
key("DATA.DECODE_TIMEOUT", 60.0,
    "Seconds after which decoding a file is given up as failed; the message names the file.", ABOVE_0, PLACE, inherited=True)

group("AUG", "augmentation of training clips", scaled=True)
key("AUG.ENABLE", True, "Augment training clips by the keys of this group; False: only crop, resize and flip.", theirs=False,
    authors=Authors(False, "D.3 names colour jitter; the code crops and flips only"))
key("AUG.NUM_SAMPLE", 1, "Number of augmented clips drawn from each video of a batch.", COUNT)
key("AUG.SAMPLE_DISTANCE", -1,
    "With NUM_SAMPLE above 1, the largest distance between the starts of a video's clips, in frames; -1 = each start is "
    "drawn anywhere in the video. Starts close together need one decode only, but show nearly the same moment; 0 = the "
    "same frames, augmented differently.",
    number("-1 or more", (lambda frames: frames >= -1, "it must be -1 (anywhere), 0 or more frames")), theirs=0,
    authors=Authors(0, "C.8, two start indices drawn at random; the code crops one window twice"))
key("AUG.AA_TYPE", "rand-m7-n4-mstd0.5-inc1",
    "RandAugment in timm's notation: magnitude m (0 to 10), n operations per clip, standard deviation mstd of m, inc1: "
    'every operation gets stronger with m; "" = off.', theirs="rand-m9-mstd0.5-inc1")
key("AUG.ORDER", "crop_first",
    "Order of RandAugment and the crop. crop_first: faster; augment_first: as PySlowFast, RandAugment on the whole frame.",
    one_of("crop_first", "augment_first"), theirs="augment_first")
key("AUG.INTERPOLATION", "bilinear",
    "Interpolation of RandAugment's warps; bicubic takes six times as long.", one_of("bilinear", "bicubic"), theirs="bicubic")
key("AUG.COLOR_JITTER", 0.4,
    "Factors of brightness, contrast and saturation are drawn from [1 - x, 1 + x], where x is this value; 0 = "
    "off.", NOT_NEGATIVE)
key("AUG.USE_COLOR_JITTER", True,
    "Apply COLOR_JITTER; False: as PySlowFast, whose loaders of videos do not read that key.", new=True, theirs=False)
key("AUG.RE_PROB", 0.25, "Random erasing: probability per clip; 0 = off.", SHARE)
key("AUG.RE_MODE", "pixel",
    "Random erasing: what fills a box. pixel: noise; rand: one random colour; const: grey.",
    one_of("pixel", "rand", "const"))
key("AUG.RE_NOISE", "uniform",
    "Random erasing: the noise of RE_MODE pixel and rand. uniform: over 0 to 255, the same in all frames; normal: as "
    "PySlowFast, drawn for each frame, with DATA.MEAN and DATA.STD, cut to 0 to 255.",
    one_of("uniform", "normal"), new=True, theirs="normal")
key("AUG.RE_COUNT", 1, "Random erasing: largest number of boxes per clip.", COUNT)
key("AUG.TEMPO", [1.0, 1.0],
    "Smallest and largest factor on the speed of the video, drawn log-uniformly per clip; other than [1, 1], the clip "
    "starts anywhere and the video is read back and forth where it ends.", numbers(2, ALL_ABOVE_0, RISING))
key("AUG.PAUSES", 0.0, "Share of a clip's duration that is a frozen frame; 0 = off.", SHARE)
key("AUG.JOINT_TURN", 0.0,
    "Joints in world coordinates: largest rotation around the vertical axis, in degrees.", NOT_NEGATIVE)
key("AUG.JOINT_TILT", 0.0, "Joints: largest rotation around the other axes, in degrees.", NOT_NEGATIVE)
key("AUG.JOINT_STRETCH", 0.0,
    "Joints: each axis is scaled by a factor drawn from [1 - x, 1 + x], where x is this value; 0 = off.", SHARE)
key("AUG.JOINT_NOISE", 0.0,
    "Joints: mean standard deviation of the noise added, in body sizes; each clip draws its own from 0 to twice "
    "this value.", NOT_NEGATIVE)
key("AUG.JOINT_DROPOUT", 0.0, "Joints: probability per clip that the feet, the hands or the head are set to missing.", SHARE)

group("MIXUP", "Mixup and CutMix: in training, each video and its labels are mixed with another video of the batch")
key("MIXUP.ENABLE", False, "Use Mixup and CutMix.")
key("MIXUP.ALPHA", 0.8, "Mixup: the mixing weight is drawn from Beta(ALPHA, ALPHA); 0 = no Mixup.", NOT_NEGATIVE)
key("MIXUP.CUTMIX_ALPHA", 1.0,
    "CutMix: the mixing weight is drawn from Beta(CUTMIX_ALPHA, CUTMIX_ALPHA); 0 = no CutMix.", NOT_NEGATIVE)
key("MIXUP.PROB", 1.0, "Probability that a batch is mixed.", SHARE)
key("MIXUP.SWITCH_PROB", 0.5, "Probability that a mixed batch uses CutMix instead of Mixup, where both are on.", SHARE)
key("MIXUP.LABEL_SMOOTH_VALUE", 0.1,
    "Label smoothing s: a label y becomes y (1 - s) + s / 2; with DATA.TARGET activity and C classes, y (1 - s) + s "
    "/ C.", BELOW_1)

group("DATA_LOADER", "data loading", role=PLACE, inherited=True)
key("DATA_LOADER.NUM_WORKERS", 2,
    "Data-loading workers per training process; 0 = load in the training process.",
    NOT_NEGATIVE, scaled=True, theirs=8)
key("DATA_LOADER.PIN_MEMORY", True, "Load batches into page-locked memory, which is copied to the GPU faster.")

group("SKELETON", "skeletons that skeleton models read", role=NETWORK, of_model=True)
key("SKELETON.LAYOUT", "coco17",
    "Which joints the model reads; body23: COCO-17 plus heels, toes and index fingers, which may be missing. Skeleton files "
    "of another layout are converted.", one_of(*LAYOUTS))
key("SKELETON.NUM_PERSONS", 2,
    "Number of persons of a clip: those with the largest score times area; zeros where there are fewer.", COUNT)
key("SKELETON.NORMALIZE", "frame",
    "Origin and unit of coordinates. frame: -1 to 1 over the crop; body: relative to the first person's hips, in torso "
    "lengths (world coordinates are also rotated to face the camera).", one_of("frame", "body"))
key("SKELETON.COORDINATES", "image",
    "image: 2D, as the camera sees the joints; world: 3D, in metres from the hips, as BlazePose gives them.",
    one_of(*COORDINATES))
