"""Recall and F1 from counts of right and wrong predictions.

Results equal those of torchmetrics. Importing torchmetrics takes a second (matplotlib, `scipy.signal`), which would be
added to every classification trial.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Counts:
    """Counts of each class or label, int64 [C]: true positives, false positives and false negatives."""

    right: Tensor
    wrong: Tensor
    missed: Tensor

    def total(self) -> Counts:
        """Counts of all classes together, each int64 [1]."""
        return Counts(*(count.sum(0, keepdim=True) for count in (self.right, self.wrong, self.missed)))

    def recall(self) -> Tensor:
        """Share of a class's members that are found, float32 [C]; 0 for a class without members."""
        return _share(self.right, self.right + self.missed)

    def f1(self) -> Tensor:
        """Harmonic mean of precision and recall, float32 [C]; 0 where both are undefined."""
        return _share(2.0 * self.right, 2.0 * self.right + self.missed + self.wrong)

    def occurs(self) -> Tensor:
        """Whether a class has members or is predicted, bool [C]."""
        return self.right + self.wrong + self.missed > 0


def of_classes(logits: Tensor, y: Tensor) -> Counts:
    """Counts of the largest logits [n, C] against classes int64 [n]."""
    said, classes = logits.argmax(-1), logits.size(1)
    right = torch.bincount(y[said == y], minlength=classes)
    return Counts(right, torch.bincount(said, minlength=classes) - right, torch.bincount(y, minlength=classes) - right)


def of_labels(logits: Tensor, y: Tensor) -> Counts:
    """Counts of positive logits [n, L] against labels float32 [n, L]: 0, 1, or nan where a label is not known."""
    said, has, known = logits > 0, y > 0.5, ~y.isnan()
    return Counts((said & has & known).sum(0), (said & ~has & known).sum(0), (~said & has & known).sum(0))


def mean_over(scores: Tensor, counted: Tensor) -> float:
    """Mean of the scores [C] where `counted` [C], in float32 and in torchmetrics' order of operations; 0 if nowhere."""
    weights = counted.to(scores.dtype)
    return float(_share(weights * scores, weights.sum(-1, keepdim=True)).sum(-1))


def _share(part: Tensor, whole: Tensor) -> Tensor:
    part, whole = part.float(), whole.float()
    return torch.where(whole != 0, part / whole, torch.zeros((), dtype=part.dtype, device=part.device))
