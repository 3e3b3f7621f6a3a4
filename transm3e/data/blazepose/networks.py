"""Run the two networks with LiteRT on one CPU thread."""

from __future__ import annotations

from typing import Any

import numpy as np

from transm3e.data.blazepose.models import DETECTION, LANDMARKS, ModelFile, read_model
from transm3e.errors import UserError

# The landmark network's outputs, identified by their number of values: 39 x 5, 1, 64 x 64 x 39, 39 x 3. The segmentation
# mask is not used.
MARKS, FLAG, HEAT, WORLD = 195, 1, 64 * 64 * 39, 117


def check_installed() -> None:
    """Check that LiteRT is installed.

    Raises:
        UserError: it is not.
    """
    try:
        import ai_edge_litert.interpreter  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"BlazePose runs with ai-edge-litert, which cannot be imported ({error}); pip install -e '.[pose]', or "
            "pip install ai-edge-litert"
        ) from error


class Network:
    """One network; must not be shared by threads.

    Raises:
        UserError: LiteRT is not installed, or the file is not in the cache.
    """

    def __init__(self, model: ModelFile) -> None:
        check_installed()
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter: Any = Interpreter(model_content=read_model(model), num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = {
            int(np.prod(output["shape"])): output["index"] for output in self._interpreter.get_output_details()
        }

    def __call__(self, image: np.ndarray) -> dict[int, np.ndarray]:
        """(H, W, 3) float32 -> outputs by their number of values, without the first axis."""
        self._interpreter.set_tensor(self._input, image[None])
        self._interpreter.invoke()
        return {size: self._interpreter.get_tensor(index)[0] for size, index in self._outputs.items()}


def load_networks() -> tuple[Network, Network]:
    """The detection network and the landmark network; see Network."""
    return Network(DETECTION), Network(LANDMARKS)
