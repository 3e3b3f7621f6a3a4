"""Checks of what is read and how: modalities, decoders, augmentation."""

from __future__ import annotations

from collections.abc import Iterable

from fvcore.common.config import CfgNode

from transm3e.config.keys_data import CUDA_DECODER, FORMER_DECODER
from transm3e.errors import UserError
from transm3e.modalities import JOINTS, MODALITIES, STORED, model_class, readable_by, stored_modalities


def check_data(cfg: CfgNode) -> None:
    """Refuse what contradicts itself.

    Raises:
        UserError: names the key, its value, what is allowed and what to change.
    """
    name, modality, readable = cfg.MODEL.MODEL_NAME, cfg.DATA.MODALITY, readable_by(model_class(cfg))
    if modality not in readable:
        fit = ", ".join(readable)
        raise UserError(f"DATA.MODALITY is {modality}, but MODEL.MODEL_NAME {name} reads {fit}; change one of them")
    if cfg.MIXUP.ENABLE and MODALITIES[modality].kind == JOINTS:
        raise UserError(f"MIXUP.ENABLE is True, but joints cannot be mixed; set it False for DATA.MODALITY {modality}")
    absent = [source for source in stored_modalities(cfg, training=False) if not STORED[source].of_any_video]
    if cfg.DEMO.ENABLE and absent:
        readable = [name for name in MODALITIES if STORED[MODALITIES[name].source].of_any_video]
        raise UserError(
            f"DEMO.ENABLE scores video files, which hold no {absent[0]}; put them into a clip table with that column and "
            f"test on it, or choose a model of {', '.join(readable)}"
        )
    if cfg.DATA.DECODING_BACKEND == CUDA_DECODER and cfg.DATA_LOADER.NUM_WORKERS:
        raise UserError(
            f"DATA.DECODING_BACKEND {CUDA_DECODER} decodes in the process that trains, as forked processes cannot use its "
            f"GPU; set DATA_LOADER.NUM_WORKERS 0 (it is {cfg.DATA_LOADER.NUM_WORKERS})"
        )


def data_warnings(cfg: CfgNode) -> Iterable[str]:
    """What is allowed and probably not meant."""
    if cfg.DATA.DECODING_BACKEND == FORMER_DECODER:
        yield f"DATA.DECODING_BACKEND {FORMER_DECODER}: it has no video reading any more, pyav decodes"
