"""What a fine-tuning trains, and by which weights of classes: MODEL.FREEZE and MODEL.POS_WEIGHT."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Sequence

import numpy as np
from fvcore.common.config import CfgNode
from torch import nn

from transm3e.config.frozen import is_frozen, split_exempt
from transm3e.data.build import train_labels
from transm3e.errors import UserError

logger = logging.getLogger(__name__)
NEAREST = 4


def freeze(model: nn.Module, beginnings: Sequence[str]) -> tuple[str, ...]:
    """Parameters whose names begin so do not require a gradient.

    Args:
        beginnings: of names of parameters; "not NAME" exempts, and alone freezes all others.

    Returns:
        The names of the frozen parameters.

    Raises:
        UserError: one of them begins no name, or nothing is left to train.
    """
    parameters = dict(model.named_parameters())
    for beginning in (*split_exempt(beginnings)[0], *split_exempt(beginnings)[1]):
        if not any(name.startswith(beginning) for name in parameters):
            raise UserError(f"MODEL.FREEZE: no parameter begins with {beginning!r}; {_nearest(beginning, parameters)}")
    frozen = tuple(name for name in parameters if is_frozen(name, beginnings))
    if len(frozen) == len(parameters):
        raise UserError(f"MODEL.FREEZE {list(beginnings)} leaves nothing to train; name fewer parameters")
    for name in frozen:
        parameters[name].requires_grad_(False)
    logger.info("MODEL.FREEZE: %d of %d parameters (tensors) do not train", len(frozen), len(parameters))
    return frozen


def _nearest(beginning: str, names: Iterable[str]) -> str:
    """The beginnings of names, as long as this one, that are most like it."""
    depth = beginning.rstrip(".").count(".") + 1
    known = {".".join(name.split(".")[:n]) for name in names for n in (1, depth)}
    near = difflib.get_close_matches(beginning.rstrip("."), sorted(known), NEAREST, 0.4) or sorted(known)[:NEAREST]
    return f"nearest: {', '.join(near)}"


def pos_weights(cfg: CfgNode) -> list[float]:
    """Weight of each class's positive labels; of [balanced]: negatives / positives of the training clips, or 1 without any."""
    given = cfg.MODEL.POS_WEIGHT
    if given != ["balanced"]:
        return given * cfg.MODEL.NUM_CLASSES if len(given) == 1 else given
    labels = train_labels(cfg)
    positives = labels.sum(axis=0)
    weights = np.where((positives > 0) & (positives < len(labels)), (len(labels) - positives) / positives.clip(1), 1.0)
    logger.info("MODEL.POS_WEIGHT balanced: from %.3g to %.3g", weights.min(), weights.max())
    return [float(weight) for weight in weights]
