"""Train one model on labels: of muscles, or of activities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from transm3e.config.targets import MUSCLE_TARGET
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
        inputs: uint8 clips -> input of the model.
        activities: the classes, if it classifies activities; None = muscles.

    Attributes:
        target: of the scores that `conclude` returns, see transm3e.config.targets.scored_target.
        columns: names of these scores, in order.
    """

    def __init__(
        self, model: nn.Module, loss: Loss, inputs: ModalityInput, activities: Activities | None = None
    ) -> None:
        self.model, self.loss, self.inputs, self.activities = model, loss, inputs, activities
        self.target = activities.target if activities else MUSCLE_TARGET
        self.columns: tuple[str, ...] = activities.names if activities else MUSCLES
        # The model as called in training: the engine may wrap it in DDP; evaluation does not need that.
        self.replica = model
        # The part of a step that takes only tensors; compile() replaces it by its compiled form.
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
        """Compile the training step, at its first call; `options` are torch.compile's."""
        self._step = torch.compile(self._step, **options)

    def predict(self, batch: Batch) -> Tensor:
        """Scores (B, C) in [0, 1] of a batch, in evaluation mode, without a teacher."""
        return self.score(batch)[0]

    @torch.inference_mode()
    def score(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """As predict, and the mean classification loss of the batch; None if its labels are of other classes."""
        self.model.eval()
        # In half precision, close scores would become equal.
        logits = self.model(self.inputs(batch.clips)).logits.float()
        loss = self.loss(logits, batch.labels) if batch.labels.shape == logits.shape else None
        return self.loss.scores(logits), loss

    def conclude(self, scores: Tensor) -> Tensor:
        """Scores of whole clips (N, C), views averaged -> reported scores (N, len(columns))."""
        return scores

    def state(self) -> dict[str, Tensor]:
        """State that training changes in addition to the model's, for checkpoints; {} if there is none."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Load what `state` returned.

        Raises:
            ValueError: the state is another task's.
        """
        if set(state) != set(self.state()):
            raise ValueError("the saved state of the task does not fit")

    def train(self) -> None:
        """Put the model into training mode."""
        self.model.train()

    def to(self, device: torch.device) -> None:
        """Move the model and its input preparation."""
        self.model.to(device)
        self.inputs.to(device)
