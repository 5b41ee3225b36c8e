"""Dispatch to the sources."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dqrun.config import DataConfig, DatasetConfig
from dqrun.data.dataset import load_dataset
from dqrun.errors import ConfigError

MakeConfig = Callable[..., DatasetConfig]


def test_a_dataset_comes_from_its_source(dataset_config: MakeConfig) -> None:
    threads = load_dataset(dataset_config(name="threads", source="threads", graphs=10), DataConfig())
    assert (threads.name, threads.num_graphs, threads.is_node_task) == ("threads", 10, False)
    assert threads.num_nodes == threads.packed.num_nodes and threads.num_edges == threads.packed.num_edges


def test_an_unknown_source_is_an_error(dataset_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match=r"dataset\.source must be one of folder, .*, zinc, got 'os'"):
        load_dataset(dataset_config(name="x", source="os"), DataConfig())


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"source": "planetoid", "name": "cora"}, r"dataset\.name must be one of Cora, CiteSeer, PubMed, got 'cora'"),
        ({"source": "planetoid", "name": "Cora"}, r"dataset\.task must be node_classification for Cora"),
        ({"source": "tu", "name": "../up"}, r"dataset\.name must be a TUDataset name, got '\.\./up'"),
        (
            {"source": "tu", "name": "X", "task": "node_classification"},
            r"dataset\.task must be graph_classification or",
        ),
        ({"source": "zinc", "name": "ZINC"}, r"dataset\.task must be graph_regression for ZINC"),
        ({"source": "gnn_benchmark", "name": "CSL"}, r"dataset\.name must be one of MNIST, CIFAR10, got 'CSL'"),
        (
            {"source": "gnn_benchmark", "name": "MNIST", "task": "graph_regression"},
            r"dataset\.task must be graph_classification for MNIST",
        ),
        ({"source": "threads", "name": "t", "task": "graph_regression"}, r"be graph_classification for threads"),
    ],
)
def test_names_and_tasks_that_a_source_does_not_know(
    fields: dict[str, str], rule: str, dataset_config: MakeConfig
) -> None:
    with pytest.raises(ConfigError, match=rule):
        load_dataset(dataset_config(**fields), DataConfig())
