"""`Task`: the kind of prediction, its loss and its metric."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from dqrun.config import DatasetConfig
from dqrun.config.tasks import METRICS, is_node_task, kind_of, metric_of
from dqrun.training.metrics import Metric, higher_is_better, make_metric


@dataclass(frozen=True)
class Task:
    """A level (node, graph), a kind (classification, multilabel, regression) and the deciding metric."""

    name: str
    metric_name: str = "auto"

    @classmethod
    def of(cls, dataset: DatasetConfig) -> Task:
        """The task of a configuration."""
        return cls(dataset.task, dataset.metric)

    @property
    def graph_level(self) -> bool:
        """Whether a whole graph gets one prediction."""
        return not is_node_task(self.name)

    @property
    def regression(self) -> bool:
        """Whether a number is predicted."""
        return kind_of(self.name) == "regression"

    @property
    def is_classification(self) -> bool:
        """Whether one of several classes is predicted."""
        return kind_of(self.name) == "classification"

    @property
    def multilabel(self) -> bool:
        """Whether any number of labels may hold, some of which may be unknown."""
        return kind_of(self.name) == "multilabel"

    @property
    def metric(self) -> str:
        """Name of the deciding metric: validation chooses the epoch by it."""
        return metric_of(self.name, self.metric_name)

    @property
    def recorded(self) -> tuple[str, ...]:
        """Names of dqrun's own metrics for a task of this kind."""
        return METRICS[kind_of(self.name)]

    @property
    def higher_is_better(self) -> bool:
        """Direction of the metric."""
        return higher_is_better(self.metric)

    def new_metric(self) -> Metric:
        """A new deciding metric without data."""
        return make_metric(self.metric)

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """Mean loss, 0-d, over `count` terms.

        Cross-entropy of logits [n, C] against int64 [n]; absolute error of [n, 1] against [n]; or binary cross-entropy
        of logits [n, L] against the labels [n, L] that are known (0 where none is).
        """
        if self.regression:
            return F.l1_loss(logits.squeeze(-1), y)
        if not self.multilabel:
            return F.cross_entropy(logits, y)
        known = ~y.isnan()
        total = F.binary_cross_entropy_with_logits(logits[known], y[known], reduction="sum")
        return total / known.sum().clamp(min=1)

    def count(self, y: Tensor) -> int:
        """Number of terms of the loss: rows, or labels that are known."""
        return int((~y.isnan()).sum()) if self.multilabel else y.size(0)
