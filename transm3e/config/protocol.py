"""PROTOCOL: the paper's text or its published code, where the two differ.

Every option below is a key of its own. PROTOCOL chooses their defaults, so a key that is set anywhere, in a file or on
the command line, wins over it.

Of what the code does, these are left out on purpose:
- Validation on random crops: a score that changes from one call to the next cannot choose a checkpoint.
- Testing on new_test alone: the splits scored are TEST.SPLITS, and the paper reports four.
- The teacher that also runs in evaluation: it costs time and changes no score.
In both protocols RGB is normalised by DATA.MEAN and DATA.STD for whichever model sees it, and the RGB difference, of
student or teacher, is not normalised.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from fvcore.common.config import CfgNode

from transm3e.config.node import Setting, set_key
from transm3e.errors import UserError

KEY = "PROTOCOL"
PROTOCOLS = ("paper", "authors_code")


class Point(NamedTuple):
    """An option in which the paper's text and the published code differ.

    Attributes:
        paper, authors_code: its value in each protocol.
        source: where the paper's value stands, and what the code does.
    """

    paper: Any
    authors_code: Any
    source: str


POINTS = {
    "AUG.ENABLE": Point(True, False, "D.3 names colour jitter; the code crops and flips only"),
    "AUG.SAMPLE_DISTANCE": Point(-1, 0, "C.8, two start indices drawn at random; the code crops one window twice"),
    "DATA.FRAME_INDICES": Point("stride", "linspace", "16 frames, stride 4; the code spreads 16 over 64 frames"),
    "DATA.MEAN": Point([0.45] * 3, [0.0] * 3, "MViTv2's, as the pretraining; the code leaves RGB in [0, 1]"),
    "DATA.STD": Point([0.225] * 3, [1.0] * 3, "as DATA.MEAN"),
    "DISTILL.NUM_BLOCKS": Point(0, 16, "equation 1, mean over the blocks; the code divides by 16 for 24 blocks too"),
    "DISTILL.TEACHER_DROP_PATH": Point(False, True, "section 4, frozen; the code leaves its drop path active"),
    "MCTF.AUTHORS_VIEW": Point(False, True, "equations 2 to 4; the code reads the transposed result in another shape"),
    "MCTF.QKV_BIAS": Point(True, False, "D.3 on the backbone; the code's q, k, v of MCTF have none"),
    "MCTF.SCALE": Point(0.8, 0.0, "D.3; the code takes head_dim^-0.5"),
    "SOLVER.WARMUP_EPOCHS": Point(1.0, 30.0, "5.1 gives a rate of 1e-4; the authors' file asks for 30 epochs of 10"),
    "TEST.NUM_ENSEMBLE_VIEWS": Point(5, 1, "five views of the reference configs; the code scores one"),
    "TEST.VIEWS_FROM": Point("spread", "start", "as TEST.NUM_ENSEMBLE_VIEWS; the code's view begins at frame 0"),
    "TRANSM3E.RECEIVER_INIT": Point("normal", "zeros", "section 4, receivers are MCTs; the code's start as zeros"),
}


def apply_protocol(cfg: CfgNode, settings: Iterable[Setting], default: str = PROTOCOLS[0]) -> None:
    """Set the defaults of the PROTOCOL that `settings` name last (`default` where they name none), and PROTOCOL itself.

    Raises:
        UserError: no protocol has this name.
    """
    named = [(where, value) for where, key, value in settings if key == KEY]
    where, name = named[-1] if named else ("", default)
    if name not in PROTOCOLS:
        raise UserError(f"{where}: {KEY} is {name!r}; allowed: {', '.join(PROTOCOLS)}")
    set_key(cfg, KEY, name, where)
    for key, point in POINTS.items():
        set_key(cfg, key, point[PROTOCOLS.index(name)], f"{KEY} {name}")
