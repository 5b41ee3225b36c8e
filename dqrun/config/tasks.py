"""Tasks, and the metrics of each. Imports no torch, because checks of a command line need it."""

from __future__ import annotations

TASKS = (
    "node_classification",
    "node_regression",
    "node_multilabel",
    "graph_classification",
    "graph_regression",
    "graph_multilabel",
)

METRICS = {
    "classification": ("accuracy", "balanced_accuracy", "f1_macro", "f1_micro", "roc_auc", "average_precision"),
    "multilabel": ("roc_auc", "average_precision", "f1_macro", "f1_micro", "accuracy"),
    "regression": ("mae", "rmse", "r2"),
}
"""dqrun's own metrics for each kind of task; the first is the one that decides where nothing else is said."""

FRACTIONS = METRICS["classification"]
"""Metrics in 0..1, which tables show in percent."""

METRIC_COLUMNS = (*METRICS["classification"], *METRICS["regression"])
"""All of dqrun's own metrics, each a column of the rows."""

LOWER_IS_BETTER = ("mae", "rmse")


def is_node_task(task: str) -> bool:
    """Whether each node gets a prediction, else each graph."""
    return task.startswith("node_")


def kind_of(task: str) -> str:
    """classification, multilabel or regression."""
    return task.partition("_")[2]


def metric_of(task: str, metric: str) -> str:
    """The metric that decides; `metric` as `dataset.metric`."""
    return METRICS[kind_of(task)][0] if metric == "auto" else metric
