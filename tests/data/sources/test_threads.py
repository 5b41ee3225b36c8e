"""Generated threads: seeded, simple undirected graphs with hubs; and not too easy."""

from __future__ import annotations

import torch

from dqrun.config import DataConfig, DatasetConfig
from dqrun.data.dataset import GraphDataset
from dqrun.data.sources.threads import ThreadParameters, generate, load


def per_graph(dataset: GraphDataset, values: torch.Tensor, reduce: str) -> torch.Tensor:
    """Mean or maximum of a node tensor in each graph, float32 [G]."""
    graph = torch.arange(dataset.num_graphs).repeat_interleave(dataset.packed.node_ptr.diff())
    start = torch.zeros(dataset.num_graphs)
    return start.scatter_reduce(0, graph, values.float(), reduce, include_self=False)


def separability(score: torch.Tensor, y: torch.Tensor) -> float:
    """Area under the ROC curve of one number per graph, folded to [0.5, 1]."""
    difference = score[y == 1].unsqueeze(1) - score[y == 0].unsqueeze(0)
    area = float((difference.sign() + 1).mean()) / 2
    return max(area, 1 - area)


def test_the_seed_decides_everything() -> None:
    first, again, other = generate(20, 0), generate(20, 0), generate(20, 1)
    assert torch.equal(first.packed.edges.col, again.packed.edges.col) and torch.equal(first.y, again.y)
    assert not torch.equal(first.packed.node_ptr, other.packed.node_ptr)


def test_graphs_are_simple_undirected_and_without_isolated_users() -> None:
    packed = generate(30, 0).packed
    graph, _ = packed.gather(torch.arange(30))
    pairs = set(zip(graph.csr.col.tolist(), graph.csr.row.tolist(), strict=True))
    assert len(pairs) == packed.num_edges
    assert all((target, source) in pairs and source != target for source, target in pairs)
    assert int(packed.in_degree.min()) >= 1


def test_classes_are_balanced_and_the_note_says_synthetic() -> None:
    dataset = generate(41, 3)
    assert sorted(torch.bincount(dataset.y).tolist()) == [20, 21]
    assert dataset.synthetic and "SYNTHETIC" in dataset.note
    assert dataset.x is None and dataset.category is None and dataset.official is None


def test_degrees_are_heavy_tailed() -> None:
    dataset = generate(400, 0)
    degree = dataset.packed.in_degree
    assert 130 <= dataset.num_nodes / 400 <= 250
    assert float(degree.float().median()) <= 2 and int(degree.max()) >= 300
    assert float((per_graph(dataset, degree, "amax") >= 100).float().mean()) >= 0.15


def test_neither_size_nor_the_largest_degree_tells_the_classes_apart() -> None:
    dataset = generate(400, 0)
    degree = dataset.packed.in_degree
    sizes = dataset.packed.node_ptr.diff().float()
    assert separability(sizes, dataset.y) < 0.6
    assert separability(per_graph(dataset, degree, "amax"), dataset.y) < 0.65
    assert separability(per_graph(dataset, degree, "mean"), dataset.y) < 0.9


def test_sizes_obey_the_parameters() -> None:
    sizes = generate(50, 0, ThreadParameters(min_nodes=40, max_nodes=60)).packed.node_ptr.diff()
    assert int(sizes.min()) == 40 and int(sizes.max()) == 60


def test_the_configuration_gives_number_and_seed() -> None:
    config = DatasetConfig(name="threads", source="threads", task="graph_classification", graphs=12, seed=5)
    assert torch.equal(load(config, DataConfig()).packed.edges.col, generate(12, 5).packed.edges.col)
