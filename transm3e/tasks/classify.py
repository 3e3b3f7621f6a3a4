"""Train one model on labels: of muscles, or of activities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from transm3e.config.targets import ACTIVITY_TARGET, MUSCLE_TARGET
from transm3e.data.activities import Activities
from transm3e.data.annotations import MUSCLES
from transm3e.data.modalities import ModalityInput
from transm3e.data.types import Batch, mixed
from transm3e.losses import Loss


class Classify:
    """Model, loss and input preparation.

    A task is what the engine trains: called with a batch it returns {"loss", "logits", ...every scalar to log}.

    Args:
        model: the trainable model.
        loss: classification loss with its scores.
        inputs: uint8 clips -> what the models read.
        activities: the classes, where it classifies activities; None = muscles.

    Attributes:
        target: what the scores that `conclude` gives are of, MUSCLE_TARGET or ACTIVITY_TARGET.
        columns: their names, in order.
    """

    def __init__(
        self, model: nn.Module, loss: Loss, inputs: ModalityInput, activities: Activities | None = None
    ) -> None:
        self.model, self.loss, self.inputs, self.activities = model, loss, inputs, activities
        self.target = ACTIVITY_TARGET if activities else MUSCLE_TARGET
        self.columns: tuple[str, ...] = activities.names if activities else MUSCLES
        # The model as it is called in training: the engine may put DDP around it; evaluation never needs that.
        self.replica = model
        # What a step computes from tensors alone; compile() puts the compiled form here.
        self._step: Callable[..., dict[str, Tensor]] = self.classify

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """A training step's forward pass on a batch that is on the model's device."""
        batch = mixed(batch)
        return self._step(batch.clips, batch.labels)

    def classify(self, clips: dict[str, Tensor], labels: Tensor) -> dict[str, Tensor]:
        """{"loss", "logits"} of uint8 clips and their labels."""
        output = self.replica(self.inputs(clips))
        return {"loss": self.loss(output.logits, labels), "logits": output.logits}

    def compile(self, **options: Any) -> None:
        """Compile what a step computes, as one graph, when it is first called; `options` are torch.compile's."""
        self._step = torch.compile(self._step, **options)

    @torch.inference_mode()
    def predict(self, batch: Batch) -> Tensor:
        """Scores (B, C) in [0, 1] of a batch, in evaluation mode, from what the model reads, never a teacher."""
        self.model.eval()
        return self.loss.scores(self.model(self.inputs(batch.clips)).logits)

    def conclude(self, scores: Tensor) -> Tensor:
        """Scores of whole clips (N, C), views averaged -> what is reported, (N, len(columns))."""
        return scores

    def state(self) -> dict[str, Tensor]:
        """What changes in training besides the model, for checkpoints; {} where nothing does."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state` gave.

        Raises:
            ValueError: it is another task's.
        """
        if set(state) != set(self.state()):
            raise ValueError("what the task had learnt besides the model does not fit")

    def train(self) -> None:
        """Put the model into training mode."""
        self.model.train()

    def to(self, device: torch.device) -> None:
        """Move the model and what prepares its input."""
        self.model.to(device)
        self.inputs.to(device)
