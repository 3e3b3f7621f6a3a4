"""transm3e: activated muscle group estimation (AMGE) from video.

>>> import numpy as np, transm3e
>>> model = transm3e.load("configs/MuscleSynth/all_ones.yaml")
>>> model.predict(np.zeros((8, 64, 64, 3), np.uint8)).top(1)
[('neck_and_head', 0.05)]
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transm3e.inference import Predictor, Scores, load

__version__ = "0.1.0"
__all__ = ["Predictor", "Scores", "__version__", "load"]


def __getattr__(name: str) -> Any:
    # Imported on use: torch takes seconds, and configs and command lines do not need it.
    if name in ("Predictor", "Scores", "load"):
        return getattr(import_module("transm3e.inference"), name)
    raise AttributeError(f"module 'transm3e' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
