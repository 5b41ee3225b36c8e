"""`Task`: what a network is asked, how far off it is, and in which unit it is judged."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Task:
    """A level (node, graph) and a kind (classification, regression)."""

    name: str

    @property
    def graph_level(self) -> bool:
        """Whether a whole graph gets one prediction."""
        return self.name.startswith("graph")

    @property
    def regression(self) -> bool:
        """Whether a number is predicted rather than a class."""
        return self.name.endswith("regression")

    @property
    def metric(self) -> str:
        """`accuracy` (fraction) or `mae` (mean absolute error, in the target's unit)."""
        return "mae" if self.regression else "accuracy"

    @property
    def higher_is_better(self) -> bool:
        """Direction of the metric."""
        return not self.regression

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """Mean loss, 0-d: cross-entropy of logits [n, C] against int64 [n], or absolute error of [n, 1] against [n]."""
        return F.l1_loss(logits.squeeze(-1), y) if self.regression else F.cross_entropy(logits, y)

    def score(self, logits: Tensor, y: Tensor) -> Tensor:
        """Sum of the metric over the rows, 0-d float32: number of hits, or sum of absolute errors."""
        if self.regression:
            return (logits.squeeze(-1) - y).abs().sum()
        return (logits.argmax(-1) == y).sum().to(logits.dtype)
