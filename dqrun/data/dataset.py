"""`GraphDataset`: a dataset as the rest of the program sees it, whatever it was read from."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from dqrun import register
from dqrun.config import DataConfig, DatasetConfig
from dqrun.config.parts import own_config
from dqrun.config.tasks import is_node_task
from dqrun.data.packed import PackedGraphs
from dqrun.data.splits import Split

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GraphDataset:
    """G graphs with N nodes in all, their features and targets.

    `y` is int64 (classes 0..num_classes-1) or float32 (regression, `num_classes` 0); [G] for graph tasks, [N] for
    node tasks. Of tasks with several labels it is float32 [G, L] or [N, L] of 0, 1 and nan (not known), and
    `num_classes` is L. A dataset has float features, categories or neither (then the degree is the feature).
    """

    name: str
    task: str  # as `dataset.task`
    packed: PackedGraphs
    y: Tensor
    num_classes: int
    x: Tensor | None = None  # float32 [N, F]
    category: Tensor | None = None  # int64 [N], or [N, K] where nodes have columns of categories, >= 0
    official: Split | None = None
    folds: tuple[Split, ...] = ()  # splits that the data brings along, for protocol=kfold
    class_names: tuple[str, ...] = ()  # of each class or label; empty: they are called by their numbers
    synthetic: bool = False
    note: str = ""  # one line that the user is told, empty: nothing to tell

    @property
    def is_node_task(self) -> bool:
        return is_node_task(self.task)

    @property
    def strata(self) -> int:
        """Number of classes by which a split is stratified; 0: there are no classes."""
        return 0 if self.y.is_floating_point() else self.num_classes

    @property
    def num_graphs(self) -> int:
        return self.packed.num_graphs

    @property
    def num_nodes(self) -> int:
        return self.packed.num_nodes

    @property
    def num_edges(self) -> int:
        return self.packed.num_edges


def load_dataset(dataset: DatasetConfig, data: DataConfig) -> GraphDataset:
    """Reads the dataset from its source, through the cache where the source has one.

    Raises ConfigError for a name or task that the source does not know, DataError for files that are missing,
    unreadable or not in the expected format.
    """
    # The registry imports it now: a run needs one source only, and PyG's dataset classes take a second to import.
    given = own_config(dataset) if dataset.source in register.dataset.added() else None
    loaded = register.dataset.get(dataset.source)(given or dataset, data)
    if not isinstance(loaded, GraphDataset):
        loaded = _converted(loaded, dataset)
    log.info(
        "data: %s (source %s), %d graphs, %d nodes, %d edges",
        *(loaded.name, dataset.source, loaded.num_graphs, loaded.num_nodes, loaded.num_edges),
    )
    return loaded


def _converted(loaded: Any, config: DatasetConfig) -> GraphDataset:
    """What a plug-in gave: a graph of PyG, a list of them, or three lists, the parts train, val and test."""
    from dqrun.data.sources.pyg_arrays import arrays_of

    if isinstance(loaded, tuple) and len(loaded) == 3:
        parts = [list(part) for part in loaded]
        graphs, sizes = [graph for part in parts for graph in part], [len(part) for part in parts]
    else:
        graphs, sizes = [loaded] if hasattr(loaded, "edge_index") else list(loaded), []
    return arrays_of(graphs, config.task, f"dataset={config.source}", sizes).dataset(config.name, config.task)
