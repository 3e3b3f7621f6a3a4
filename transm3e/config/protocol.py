"""PROTOCOL: the paper's text or its published code, where the two differ.

Every option is a key of its own, declared with `authors=`. PROTOCOL chooses their defaults, so a key that is set
anywhere, in a file or on the command line, wins over it.

Of what the code does, these are left out on purpose:
- Validation on random crops: a score that changes from one call to the next cannot choose a checkpoint.
- Testing on new_test alone: the splits scored are TEST.SPLITS, and the paper reports four.
- The teacher that also runs in evaluation: it costs time and changes no score.
In both protocols RGB is normalised by DATA.MEAN and DATA.STD for whichever model sees it, and the RGB difference, of
student or teacher, is not normalised.
"""

from __future__ import annotations

from collections.abc import Iterable

from fvcore.common.config import CfgNode

from transm3e.config.node import Setting, set_key
from transm3e.config.schema import KEYS, choices
from transm3e.errors import UserError

KEY = "PROTOCOL"
PROTOCOLS = choices(KEY)


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
    for each in KEYS.values():
        if each.authors:
            set_key(cfg, each.name, each.default if name == PROTOCOLS[0] else each.authors.value, f"{KEY} {name}")
