"""RandAugment (Cubuk et al. 2020) as in timm and PySlowFast: the policy, and the operations drawn for a clip.

Of fifteen operations n are drawn with replacement; each is applied with probability 1/2, with a strength drawn around
the policy's magnitude. All frames and modalities of a clip share one draw.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import cos, radians, sin

import numpy as np

from transm3e.errors import UserError

MAX_MAGNITUDE = 10.0
OP_PROB = 0.5
# Part of a policy -> the field of RandAugment, its type, the smallest and the largest value.
PARTS: dict[str, tuple[str, type, float, float]] = {
    "m": ("magnitude", float, 0, MAX_MAGNITUDE),
    "n": ("num_ops", int, 1, 100),
    "mstd": ("magnitude_std", float, 0, 100),
    "inc": ("increasing", int, 0, 1),
}
# Operation -> (magnitude / 10, random sign, increasing) -> its value; 0 where it has none.
# Without `increasing`, a larger magnitude weakens Posterize and Solarize, and blend factors run from 0.1 to 1.9.
VALUES: dict[str, Callable[[float, int, bool], float]] = {
    "AutoContrast": lambda share, sign, inc: 0,
    "Equalize": lambda share, sign, inc: 0,
    "Invert": lambda share, sign, inc: 0,
    "Rotate": lambda share, sign, inc: sign * 30 * share,  # degrees, anticlockwise
    "Posterize": lambda share, sign, inc: 4 - int(share * 4) if inc else int(share * 4),  # bits kept
    "Solarize": lambda share, sign, inc: 256 - int(share * 256) if inc else int(share * 256),  # first value inverted
    "SolarizeAdd": lambda share, sign, inc: int(share * 110),  # added to values below 128
    "Color": lambda share, sign, inc: _factor(share, sign, inc),
    "Contrast": lambda share, sign, inc: _factor(share, sign, inc),
    "Brightness": lambda share, sign, inc: _factor(share, sign, inc),
    "Sharpness": lambda share, sign, inc: _factor(share, sign, inc),
    "ShearX": lambda share, sign, inc: sign * 0.3 * share,  # pixels per pixel
    "ShearY": lambda share, sign, inc: sign * 0.3 * share,
    "TranslateXRel": lambda share, sign, inc: sign * 0.45 * share,  # share of the frame's side
    "TranslateYRel": lambda share, sign, inc: sign * 0.45 * share,
}
OPS = tuple(VALUES)
GEOMETRIC = ("Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel")


@dataclass(frozen=True)
class RandAugment:
    """A policy.

    Attributes:
        magnitude: mean strength, 0 to 10.
        num_ops: operations drawn per clip.
        magnitude_std: standard deviation of the strength, which is clipped to 0..10.
        increasing: a larger magnitude always means a stronger change.
    """

    magnitude: float = MAX_MAGNITUDE
    num_ops: int = 2
    magnitude_std: float = 0.0
    increasing: bool = False


@dataclass(frozen=True)
class Op:
    """One operation of a clip: a name of OPS and its value, see VALUES."""

    name: str
    value: float = 0.0


def parse_policy(text: str) -> RandAugment | None:
    """timm's and PySlowFast's notation, such as "rand-m7-n4-mstd0.5-inc1" (defaults: m10, n2, mstd0, inc0).

    Returns:
        The policy, None for "".

    Raises:
        UserError: the text is not such a policy.
    """
    if not text:
        return None
    first, *parts = text.split("-")
    if first != "rand":
        raise _bad_policy(text, f"begins with {first!r}")
    fields: dict[str, float] = {}
    for part in parts:
        match = re.fullmatch(r"([a-z]+)(\d+(?:\.\d+)?)", part)
        if match is None or match[1] not in PARTS:
            raise _bad_policy(text, f"has the unknown part {part!r}")
        name, kind, low, high = PARTS[match[1]]
        number = float(match[2])
        if name in fields or kind(number) != number or not low <= number <= high:
            raise _bad_policy(text, f"has a wrong or repeated {part!r}")
        fields[name] = kind(number)
    increasing = bool(fields.pop("increasing", 0))
    return RandAugment(**fields, increasing=increasing)  # type: ignore[arg-type]


def draw_ops(rng: np.random.Generator, policy: RandAugment) -> tuple[Op, ...]:
    """The operations of one clip in their order, 0 to num_ops."""
    drawn = (_draw_op(rng, OPS[rng.integers(len(OPS))], policy) for _ in range(policy.num_ops))
    return tuple(op for op in drawn if op is not None)


def inverse_matrix(op: Op, height: int, width: int) -> np.ndarray:
    """(3, 3): pixel of the result -> pixel of the source, of an operation of GEOMETRIC on a frame of that size.

    Rotation is about the frame's centre, shear about its upper left corner.
    """
    v, turn = op.value, radians(op.value)
    linear, shift, centre = np.eye(2), np.zeros(2), np.zeros(2)
    if op.name == "Rotate":
        linear = np.array([[cos(turn), -sin(turn)], [sin(turn), cos(turn)]])
        centre = np.array([width / 2, height / 2])
    elif op.name in ("ShearX", "ShearY"):
        linear[(0, 1) if op.name == "ShearX" else (1, 0)] = v
    else:
        shift[:] = (v * width, 0) if op.name == "TranslateXRel" else (0, v * height)
    # `centre` has the frame's corner at 0 and the first pixel's centre at 0.5; the matrix has that centre at 0.
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = shift + centre - linear @ (centre - 0.5) - 0.5
    return matrix


def forward_matrix(ops: tuple[Op, ...], height: int, width: int) -> np.ndarray:
    """(3, 3): pixel of a frame -> its position after all geometric operations."""
    matrix = np.eye(3)
    for op in ops:
        if op.name in GEOMETRIC:
            matrix = np.linalg.inv(inverse_matrix(op, height, width)) @ matrix
    return matrix


def _factor(share: float, sign: int, increasing: bool) -> float:
    return 1 + sign * 0.9 * share if increasing else 0.1 + 1.8 * share


def _draw_op(rng: np.random.Generator, name: str, policy: RandAugment) -> Op | None:
    if rng.random() >= OP_PROB:
        return None
    magnitude = min(MAX_MAGNITUDE, max(0.0, rng.normal(policy.magnitude, policy.magnitude_std)))
    sign = 1 if rng.random() < 0.5 else -1
    return Op(name, float(VALUES[name](magnitude / MAX_MAGNITUDE, sign, policy.increasing)))


def _bad_policy(text: str, what: str) -> UserError:
    return UserError(
        f"AUG.AA_TYPE {text!r} {what}; allowed: '' (off), or 'rand' and any of m (magnitude 0 to 10), n (operations, "
        "1 to 100), mstd (0 to 100), inc (0 or 1), as rand-m7-n4-mstd0.5-inc1"
    )
