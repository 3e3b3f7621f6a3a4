"""Train one model on labels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from transm3e.data.modalities import ModalityInput
from transm3e.data.types import Batch
from transm3e.losses import Loss


class Classify:
    """Model, loss and input preparation.

    A task is what the engine trains: called with a batch it returns {"loss", "logits", ...every scalar to log}.

    Args:
        model: the trainable model.
        loss: classification loss with its scores.
        inputs: uint8 clips -> what the models read.
    """

    def __init__(self, model: nn.Module, loss: Loss, inputs: ModalityInput) -> None:
        self.model, self.loss, self.inputs = model, loss, inputs
        # The model as it is called in training: the engine may put DDP around it; evaluation never needs that.
        self.replica = model

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """A training step's forward pass on a batch that is on the model's device."""
        output = self.replica(self.inputs(batch.clips))
        return {"loss": self.loss(output.logits, batch.labels), "logits": output.logits}

    @torch.inference_mode()
    def predict(self, batch: Batch) -> Tensor:
        """Scores (B, C) in [0, 1] of a batch, in evaluation mode, from the major modality alone."""
        self.model.eval()
        return self.loss.scores(self.model(self.inputs(batch.clips)).logits)

    def train(self) -> None:
        """Put the model into training mode."""
        self.model.train()

    def to(self, device: torch.device) -> None:
        """Move the model and what prepares its input."""
        self.model.to(device)
        self.inputs.to(device)
