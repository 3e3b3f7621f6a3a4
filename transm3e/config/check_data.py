"""Checks of what is read and how: modalities, decoders, augmentation."""

from __future__ import annotations

from collections.abc import Iterable

from fvcore.common.config import CfgNode

from transm3e.config.modalities import PIXELS, SKELETONS, TWO_BRANCH_MODEL, read_modalities
from transm3e.errors import UserError
from transm3e.joints import COORDINATES, LAYOUTS

GRAPH_MODELS = ("STGCN", "CTRGCN", "HDGCN")
POSE_MODEL = "PoseNet"
RANDOM = "Random"
WITHOUT_WEIGHTS = (RANDOM, "AllOnes")
# This decoder works in the process that trains.
CUDA_DECODER = "torchcodec_cuda"
# PySlowFast's files name it; torchvision has no video reading any more.
FORMER_DECODER = "torchvision"
DATA_CHOICES = {
    "DATA.MODALITY": (*PIXELS, *SKELETONS),
    "DATA.TARGET": ("auto", "muscles", "activity"),
    "DATA.ENSEMBLE_METHOD": ("sum", "max"),
    "LOOKUP.MUSCLES": ("predicted", "expected"),
    "DATA.FRAME_INDICES": ("stride", "linspace"),
    "DATA.SHORT_CLIPS": ("hold", "loop"),
    "DATA.DECODING_BACKEND": ("pyav", "torchcodec", CUDA_DECODER, "opencv", FORMER_DECODER),
    "AUG.ORDER": ("crop_first", "augment_first"),
    "DATA.RESIZE": ("mipmap", "bilinear", "bicubic", "area"),
    "AUG.INTERPOLATION": ("bilinear", "bicubic"),
    "AUG.RE_MODE": ("pixel", "rand", "const"),
    "SKELETON.LAYOUT": tuple(LAYOUTS),
    "SKELETON.NORMALIZE": ("frame", "body"),
    "SKELETON.COORDINATES": tuple(COORDINATES),
    "STGCN.PARTITION": ("uniform", "distance", "spatial", "spatial_code"),
    "DISTILL.MODALITY": PIXELS,
    "TWO_BRANCH.MODALITY": PIXELS,
}


def check_data(cfg: CfgNode) -> None:
    """Refuse what contradicts itself.

    Raises:
        UserError: names the key, its value, what is allowed and what to change.
    """
    name, modality = cfg.MODEL.MODEL_NAME, cfg.DATA.MODALITY
    if name not in WITHOUT_WEIGHTS and modality not in _readable(name):
        fit = ", ".join(_readable(name))
        raise UserError(f"DATA.MODALITY is {modality}, but MODEL.MODEL_NAME {name} reads {fit}; change one of them")
    if name == TWO_BRANCH_MODEL and modality == cfg.TWO_BRANCH.MODALITY:
        raise UserError(f"both branches see {modality}; set DATA.MODALITY or TWO_BRANCH.MODALITY to another")
    if cfg.MIXUP.ENABLE and modality in SKELETONS:
        raise UserError(f"MIXUP.ENABLE is True, but joints cannot be mixed; set it False for DATA.MODALITY {modality}")
    if cfg.DEMO.ENABLE and "flow" in read_modalities(cfg, training=False):
        raise UserError(
            "DEMO.ENABLE scores video files, which hold no flow; put them into a clip table with that column and "
            "test on it, or choose a model of rgb, rgb_diff, rgb_motion or skeletons"
        )
    if cfg.AUG.SAMPLE_DISTANCE < -1:
        raise UserError(f"AUG.SAMPLE_DISTANCE is {cfg.AUG.SAMPLE_DISTANCE}; it must be -1 (anywhere), 0 or more frames")
    if cfg.DATA.DECODING_BACKEND == CUDA_DECODER and cfg.DATA_LOADER.NUM_WORKERS:
        raise UserError(
            f"DATA.DECODING_BACKEND {CUDA_DECODER} decodes in the process that trains, as forked processes cannot use its "
            f"GPU; set DATA_LOADER.NUM_WORKERS 0 (it is {cfg.DATA_LOADER.NUM_WORKERS})"
        )


def _readable(model: str) -> tuple[str, ...]:
    """The modalities that a model reads."""
    if model == POSE_MODEL:
        return SKELETONS[:1]
    return SKELETONS if model in GRAPH_MODELS else PIXELS


def data_warnings(cfg: CfgNode) -> Iterable[str]:
    """What is allowed and probably not meant."""
    if cfg.DATA.DECODING_BACKEND == FORMER_DECODER:
        yield f"DATA.DECODING_BACKEND {FORMER_DECODER}: it has no video reading any more, pyav decodes"
