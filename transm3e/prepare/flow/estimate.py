"""Optical flow between two frames: OpenCV's DIS, or torchvision's RAFT with the user's weights."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError

import cv2
import numpy as np
import torch
from torch.nn import functional
from torchvision.models import optical_flow

from transm3e.errors import UserError
from transm3e.files import local_path
from transm3e.foreign.torch_file import load_torch

DIS_PRESETS = {"fast": cv2.DISOPTICAL_FLOW_PRESET_FAST, "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM}
RAFT_MODELS = {"raft_small": optical_flow.raft_small, "raft_large": optical_flow.raft_large}
# RAFT's features have an eighth of the frame's size and are halved three more times.
RAFT_STRIDE, RAFT_SMALLEST = 8, 128
# What torch.load raises on files of other kinds.
UNREADABLE = (OSError, RuntimeError, ValueError, EOFError, LookupError, TypeError, AttributeError, UnpicklingError)


class DisFlow:
    """Dense inverse search (Kroeger et al., 2016) of OpenCV; (H, W) grey images in.

    Args:
        preset: "fast" or "medium".

    Raises:
        UserError: another preset.
    """

    pixel_format = "gray"

    def __init__(self, preset: str = "medium") -> None:
        if preset not in DIS_PRESETS:
            raise UserError(f"preset {preset!r}: allowed are {', '.join(DIS_PRESETS)}")
        self._search = cv2.DISOpticalFlow.create(DIS_PRESETS[preset])

    def __call__(self, previous: np.ndarray, following: np.ndarray) -> np.ndarray:
        """Two (H, W) uint8 frames -> (H, W, 2) float32 pixels."""
        return self._search.calc(previous, following, None)  # type: ignore[call-overload]  # no first guess


class RaftFlow:
    """RAFT (Teed and Deng, 2020) of torchvision, on the GPU if there is one; (H, W, 3) RGB images in.

    Args:
        weights: a state dict of torchvision's raft_small or raft_large, recognised by its names and shapes.

    Raises:
        UserError: no such file, or weights of something else.
    """

    pixel_format = "rgb24"

    def __init__(self, weights: str | Path) -> None:
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = load_raft(weights).to(self._device).eval()

    @torch.inference_mode()
    def __call__(self, previous: np.ndarray, following: np.ndarray) -> np.ndarray:
        """Two (H, W, 3) uint8 frames -> (H, W, 2) float32 pixels."""
        height, width = previous.shape[:2]
        pair = torch.from_numpy(np.stack([previous, following])).to(self._device).permute(0, 3, 1, 2)
        right, bottom = _padding(width), _padding(height)
        images = functional.pad(pair.float().div_(127.5).sub_(1), (0, right, 0, bottom), mode="replicate")
        flow = self._model(images[:1], images[1:])[-1][0, :, :height, :width]
        return flow.permute(1, 2, 0).cpu().numpy()


def load_raft(weights: str | Path) -> torch.nn.Module:
    """RAFT with weights from a file; see RaftFlow."""
    file = local_path(weights)
    try:
        state = load_torch(file)
    except FileNotFoundError as error:
        raise UserError(f"no weights at {weights}; give torchvision's raft_small or raft_large as --weights") from error
    except UNREADABLE as error:
        raise UserError(
            f"{weights} holds no weights, or is damaged ({type(error).__name__}); give torchvision's state dict"
        ) from error
    for build in RAFT_MODELS.values():
        with torch.device("meta"):
            model = build(weights=None)
        expected = {name: value.shape for name, value in model.state_dict().items()}
        if isinstance(state, dict) and expected == {
            name: getattr(value, "shape", None) for name, value in state.items()
        }:
            model.load_state_dict(state, assign=True)
            return model
    raise UserError(f"{weights} is neither of torchvision's {' and '.join(RAFT_MODELS)}; give their state dict")


def _padding(side: int) -> int:
    return max(RAFT_SMALLEST, -(-side // RAFT_STRIDE) * RAFT_STRIDE) - side
