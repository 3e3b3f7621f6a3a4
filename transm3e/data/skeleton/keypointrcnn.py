"""Skeletons by torchvision's Keypoint R-CNN with weights from a file: COCO-17, no tracks."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from transm3e.data.skeleton.detectors import DETECTORS, Note, Options, frame_chunks, ignore
from transm3e.data.skeleton.sequence import Skeleton
from transm3e.data.skeleton.units import AS_IS, clean
from transm3e.errors import UserError
from transm3e.files import local_path
from transm3e.foreign.torch_file import load_torch

NUM_JOINTS = 17


@DETECTORS.register("keypointrcnn")
class KeypointRCNN:
    """A Maker that detects persons and their joints in every frame.

    A joint's score is the sigmoid of the network's, which is the logit of the heat map's peak.

    Args:
        weights: file or URL of a state dict of torchvision's keypointrcnn_resnet50_fpn.
        root: folder the clips are relative to.
        device: "cpu", "cuda" or "cuda:N".
        batch_size: frames per forward pass.
        min_score: persons with a lower score are left out, in [0, 1].
        max_persons: the best of a frame, at least 1.
        note: see Options.

    Raises:
        UserError: the weights cannot be read or do not fit, or the device is not available.
    """

    layout: ClassVar[str] = "coco17"
    options: ClassVar[tuple[str, ...]] = ("weights", "device", "batch_size", "min_score", "max_persons")

    def __init__(
        self,
        weights: str | Path,
        root: Path,
        device: str = "cpu",
        batch_size: int = 4,
        min_score: float = 0.5,
        max_persons: int = 8,
        note: Note = ignore,
    ) -> None:
        if batch_size < 1 or not 0 <= min_score <= 1 or max_persons < 1:
            raise UserError(
                f"--batch-size {batch_size}, --min-score {min_score}, --max-persons {max_persons}: "
                "needs at least 1, a score in 0..1, at least 1"
            )
        self.note = note
        self.root, self.batch_size, self.min_score, self.max_persons = root, batch_size, min_score, max_persons
        self.device = _device(device)
        weights = local_path(weights)
        self.network = load_network(weights).to(self.device)
        self.origin = f"keypointrcnn_resnet50_fpn {weights.absolute()}, at most {max_persons} persons from {min_score}"
        self._weights = weights

    @classmethod
    def build(cls, options: Options) -> KeypointRCNN:
        """See Detector.build."""
        if options.weights is None:
            raise UserError("--detector keypointrcnn needs --weights FILE.pth, a state dict of torchvision's network")
        return cls(
            options.weights,
            options.root,
            options.device,
            options.batch_size,
            options.min_score,
            options.max_persons,
            options.note,
        )

    def inputs(self, clip: str) -> list[Path]:
        """See Maker.inputs."""
        return [self.root / clip, self._weights]

    def make(self, clip: str) -> tuple[Skeleton, tuple[int, int]]:
        """See Maker.make."""
        size = (0, 0)
        persons: list[np.ndarray] = []
        for frames in frame_chunks(self.root / clip, self.note):
            size = (frames.shape[1], frames.shape[2])
            for start in range(0, len(frames), self.batch_size):
                persons += self.detect(frames[start : start + self.batch_size])
        most = max(map(len, persons))
        points = np.zeros((len(persons), most, NUM_JOINTS, 3), np.float32)
        for frame, found in enumerate(persons):
            points[frame, : len(found)] = found
        return clean(Skeleton(points, self.layout, *size), AS_IS, clip), size

    @torch.inference_mode()
    def detect(self, frames: np.ndarray) -> list[np.ndarray]:
        """(T, H, W, 3) uint8 RGB -> T times (P, 17, 3) float32 x, y, score, best person first."""
        images = torch.from_numpy(frames).to(self.device).permute(0, 3, 1, 2).float().div_(255)
        return [self._persons(found) for found in self.network(list(images))]

    def _persons(self, found: dict[str, Tensor]) -> np.ndarray:
        keep = (found["scores"] >= self.min_score).nonzero().flatten()[: self.max_persons]
        score = found["keypoints_scores"][keep].sigmoid()
        joints = torch.cat([found["keypoints"][keep, :, :2], score[..., None]], dim=-1)
        return joints.float().cpu().numpy().reshape(-1, NUM_JOINTS, 3)


def load_network(weights: Path) -> nn.Module:
    """Torchvision's network in evaluation mode with a state dict from a file.

    Raises:
        UserError: the file cannot be read, is not a state dict, or is another network's.
    """
    # Imported on use: it takes two seconds.
    from torchvision.models.detection import keypointrcnn_resnet50_fpn

    what = "a state dict of torchvision's keypointrcnn_resnet50_fpn"
    try:
        state = load_torch(weights)
        network = keypointrcnn_resnet50_fpn(weights=None, weights_backbone=None)
        network.load_state_dict(state)
    except OSError as error:
        raise UserError(f"--weights {weights}: cannot be read: {error.strerror}; give {what}") from error
    except (UnpicklingError, EOFError) as error:
        raise UserError(f"--weights {weights}: holds more than tensors, or is damaged; give {what}") from error
    except (RuntimeError, TypeError, AttributeError, KeyError, ValueError) as error:
        first = str(error).partition("\n")[0]
        raise UserError(f"--weights {weights}: {first[:160]}; give {what}") from error
    return network.eval()


def _device(name: str) -> torch.device:
    try:
        device = torch.empty(1, device=name).device  # with its index: each thread has its own current device
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"--device {name} is not available ({first[:100]}); allowed: cpu, cuda, cuda:N") from error
    return device
