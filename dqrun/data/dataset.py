"""`GraphDataset`: a dataset in the form that the rest of the program uses, independent of its source."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from dqrun import register
from dqrun.config import DataConfig, DatasetConfig
from dqrun.config.parts import own_config
from dqrun.config.tasks import is_node_task
from dqrun.data.packed import PackedGraphs
from dqrun.data.splits import Split
from dqrun.errors import DataError, DqrunError
from dqrun.plugins import place_in_plugin

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GraphDataset:
    """G graphs with N nodes in all, their features and targets.

    `y` is int64 (classes 0..num_classes-1) or float32 (regression, `num_classes` 0); [G] for graph tasks, [N] for
    node tasks. For tasks with several labels it is float32 [G, L] or [N, L] of 0, 1 and nan (unknown), and
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
    folds: tuple[Split, ...] = ()  # splits that are part of the data, for protocol=kfold
    class_names: tuple[str, ...] = ()  # name of each class or label; empty: numbers are their names
    synthetic: bool = False
    note: str = ""  # one line to print for the user; empty: none

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
    """Reads the dataset from its source, through the cache if the source has one.

    Raises ConfigError for a name or task that the source does not know, DataError for files that are missing,
    unreadable or not in the expected format.
    """
    # The registry imports it here: a run needs one source only, and PyG's dataset classes take a second to import.
    source = register.dataset.get(dataset.source)
    loaded = _of_plugin(source, dataset, data) if dataset.source in register.dataset.added() else source(dataset, data)
    log.info(
        "data: %s (source %s), %d graphs, %d nodes, %d edges",
        *(loaded.name, dataset.source, loaded.num_graphs, loaded.num_nodes, loaded.num_edges),
    )
    return loaded


def _of_plugin(source: Any, config: DatasetConfig, data: DataConfig) -> GraphDataset:
    """The dataset from a plug-in's function; raises DataError for its exceptions and for any other result."""
    name = f"dataset={config.source}"
    try:
        loaded = source(own_config(config) or config, data)
        if isinstance(loaded, Iterator):
            loaded = list(loaded)
    except DqrunError:
        raise
    except Exception as error:  # whatever the user's code raises
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(f"{name} can't be loaded{place_in_plugin(error)}: {reason}") from error
    return loaded if isinstance(loaded, GraphDataset) else _converted(loaded, config, name)


def _converted(loaded: Any, config: DatasetConfig, name: str) -> GraphDataset:
    """A dataset from one PyG graph, a list of graphs, or three lists: the parts train, val and test."""
    from dqrun.data.sources.pyg_arrays import arrays_of

    if isinstance(loaded, tuple) and len(loaded) == 3 and not any(_is_graph(part) for part in loaded):
        parts = [_graphs(part, name) for part in loaded]
        graphs, sizes = [graph for part in parts for graph in part], [len(part) for part in parts]
    else:
        graphs, sizes = [loaded] if _is_graph(loaded) else _graphs(loaded, name), []
    return arrays_of(graphs, config.task, name, sizes).dataset(config.name, config.task)


def _is_graph(value: Any) -> bool:
    return hasattr(value, "edge_index") and hasattr(value, "num_nodes")


def _graphs(given: Any, name: str) -> list[Any]:
    """A list of graphs; raises DataError for anything else."""
    listed = hasattr(given, "__iter__") and not isinstance(given, str | bytes | Mapping | Tensor)
    graphs = list(given) if listed else [given]
    for i, graph in enumerate(graphs):
        if not _is_graph(graph):
            got = f"{type(graph).__name__} as graph {i}" if listed else type(graph).__name__
            rule = "give a graph of PyG (with edge_index), a list of them, or three lists: train, val, test"
            raise DataError(f"{name} must {rule}, got {got}")
    return graphs
