"""Areas under curves over all thresholds of a score, equal to torchmetrics'; `confusion.py` says why they are here."""

from __future__ import annotations

import torch
from torch import Tensor


def area_under_roc(scores: Tensor, members: Tensor) -> float:
    """Area under the ROC curve (trapezoidal rule); scores float64 [n], members int64 [n] with zeros and ones."""
    hits, alarms = (torch.nn.functional.pad(count, (1, 0)) for count in _by_threshold(scores, members))
    return float(torch.trapz(hits / hits[-1], alarms / alarms[-1]))


def average_precision(scores: Tensor, members: Tensor) -> float:
    """Sum over the thresholds of precision times the step of recall; arguments as for `area_under_roc`."""
    hits, alarms = _by_threshold(scores, members)
    precision, recall = hits / (hits + alarms), hits / hits[-1]
    recall = torch.nn.functional.pad(recall.flip(0), (0, 1))  # in torchmetrics' order, for the same rounding
    return float(-torch.sum((recall[1:] - recall[:-1]) * precision.flip(0)))


def _by_threshold(scores: Tensor, members: Tensor) -> tuple[Tensor, Tensor]:
    """Counts of members and of others with a score at or above each distinct score, int64, highest score first."""
    order = torch.argsort(scores, descending=True)
    scores, found = scores[order], members[order].cumsum(0)
    last = torch.nn.functional.pad(torch.where(scores[1:] != scores[:-1])[0], (0, 1), value=scores.numel() - 1)
    return found[last], 1 + last - found[last]
