"""HAR lookup (paper, section C.1, table 8): recognise the activity, then look up its muscles."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from transm3e.config.schema import choices
from transm3e.config.targets import LOOKUP_TASK, MUSCLE_TARGET
from transm3e.data.activities import Activities
from transm3e.data.annotations import MUSCLES
from transm3e.data.modalities import ModalityInput
from transm3e.data.types import Batch
from transm3e.errors import UserError
from transm3e.losses import Loss
from transm3e.tasks.classify import Classify

PREDICTED, EXPECTED = choices("LOOKUP.MUSCLES")


class HARLookup(Classify):
    """A classifier of activities whose scores are the muscles of activities seen in training.

    A new activity gets the muscles of the known activity that it is classified as, so this baseline cannot generalise.

    Args:
        model, loss, inputs: as in Classify; the loss is a softmax cross entropy.
        activities: the classes and their muscles.

    Attributes:
        muscles: PREDICTED (the paper): those of the activity with the highest score, 0 or 1; EXPECTED: those of all
            activities, weighted by their scores.

    Raises:
        UserError: the activities have no muscles.
    """

    def __init__(self, model: nn.Module, loss: Loss, inputs: ModalityInput, activities: Activities) -> None:
        super().__init__(model, loss, inputs, activities)
        if activities.muscles is None:
            raise UserError(
                f"TASK {LOOKUP_TASK} looks muscles up, but the clip table it was trained with has none; "
                "add the column muscles and train again"
            )
        self.target, self.columns = MUSCLE_TARGET, MUSCLES
        self.muscles = PREDICTED
        self.table_AM = torch.from_numpy(activities.muscles)

    def score(self, batch: Batch) -> tuple[Tensor, None]:
        """As Classify's; without a loss, as labels are muscles, even where there are as many activities."""
        return super().score(batch)[0], None

    def conclude(self, scores: Tensor) -> Tensor:
        """Scores of activities (N, A) -> of muscles (N, 20), float32 in [0, 1]. Equal highest scores: the first."""
        table_AM = self.table_AM.to(scores.device, torch.float32)
        if self.muscles == PREDICTED:
            return table_AM[scores.argmax(dim=1)]
        # A maximum over views sums to more than 1.
        shares = scores.to(torch.float32) / scores.sum(dim=1, keepdim=True)
        return (shares @ table_AM).clamp_(0, 1)
