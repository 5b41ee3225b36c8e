"""Where data lies and what is predicted from it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from dqrun import register
from dqrun.config.ogb import validate_ogb
from dqrun.config.rules import LARGEST_SEED, doc, require, require_in, require_name, require_one_of
from dqrun.config.tasks import METRIC_COLUMNS, METRICS, TASKS, kind_of
from dqrun.paths import user_path

FEATURES = ("given", "degree", "category", "auto")
DEGREE_STATISTICS = ("training", "all")


@dataclass
class DataConfig:
    """Where data lives (`data.*`)."""

    root: str | None = doc(
        "folder of the cache (never unpickled); null: `DQRUN_DATA`, else the platform's cache folder", None
    )
    mirror: str | None = doc(
        "folder with raw files, read where they are instead of downloading; null: `DQRUN_DATA_MIRROR`, else none", None
    )

    def validate(self) -> None:
        mirror = self.resolved_mirror
        require(mirror is None or mirror.is_dir(), "data.mirror", "be an existing folder", str(mirror))

    @property
    def resolved_root(self) -> Path:
        """The cache folder, after environment and platform default."""
        from platformdirs import user_cache_path

        chosen = self.root or os.environ.get("DQRUN_DATA")
        return user_path(chosen) if chosen else user_cache_path("dqrun")

    @property
    def resolved_mirror(self) -> Path | None:
        """The mirror folder, after the environment, or None."""
        chosen = self.mirror or os.environ.get("DQRUN_DATA_MIRROR")
        return user_path(chosen) if chosen else None


@dataclass
class DatasetConfig:
    """The data to learn from (`dataset.*`)."""

    name: str = doc("name of the dataset, as its source spells it (TUDataset name, Planetoid name, ...)")
    source: str = doc(f"reader of the dataset: {', '.join(register.dataset.names())}")
    task: str = doc(f"what is predicted: {', '.join(TASKS)}")
    metric: str = doc(
        "metric that decides: accuracy, balanced_accuracy, f1_macro, f1_micro, roc_auc, average_precision; of "
        "regression mae, rmse, r2; a registered one; auto (accuracy, of labels roc_auc, of regression mae)",
        "auto",
    )
    features: str = doc(
        "node features: given (as stored), degree (of the node), category (an integer for an embedding), "
        "auto (given where the files have some, else degree)",
        "given",
    )
    max_one_hot_degree: int = doc(
        "features=degree: one-hot up to this largest in-degree of the dataset, else one standardised scalar", 1000
    )
    degree_statistics: str = doc(
        "features=degree, one scalar: mean and deviation are those of degrees in the training part (training) or in "
        "all data (all: Degree-Quant's released code)",
        "training",
    )
    normalize_rows: bool = doc("divide each node's given features by their sum", False)
    edge_weights: bool = doc("use the weights of edges, where the data has some and the layers read them", True)
    edge_features: bool = doc("use the features of edges, where the data has some and the layers read them", True)
    path: str | None = doc(
        "source=folder: the folder with the user's files; no part of a trial's identity, which their content is", None
    )
    graphs: int = doc("source=threads: number of graphs to generate", 400)
    seed: int = doc("source=threads: seed of the generator", 0)

    def validate(self) -> None:
        require_name("dataset.name", self.name)
        register.dataset.require(self.source)
        require_one_of("dataset.task", self.task, TASKS)
        self._validate_metric()
        require_one_of("dataset.features", self.features, FEATURES)
        require_one_of("dataset.degree_statistics", self.degree_statistics, DEGREE_STATISTICS)
        require(self.max_one_hot_degree >= 0, "dataset.max_one_hot_degree", "be >= 0", self.max_one_hot_degree)
        require_in("dataset.graphs", self.graphs, 10, 1_000_000)
        require_in("dataset.seed", self.seed, 0, LARGEST_SEED)
        if self.source == "ogb":
            validate_ogb(self.name, self.task)
        if self.source == "folder":
            require(self.path is not None, "dataset.path", "name a folder for dataset=folder", self.path)

    def _validate_metric(self) -> None:
        """dqrun's own metrics belong to kinds of tasks; whoever registers one knows what it takes."""
        own = METRICS[kind_of(self.task)]
        if self.metric in METRIC_COLUMNS:
            rule = f"be one of {', '.join(own)} for {self.task}"
            require(self.metric in own, "dataset.metric", rule, self.metric)
        elif self.metric != "auto":
            register.metric.require(self.metric, others=("auto",))
