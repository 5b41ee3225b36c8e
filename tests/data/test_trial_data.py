"""Batches of one trial: every graph once, in a seeded order, with the features and targets of its nodes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from dqrun.config import DatasetConfig, ProtocolConfig
from dqrun.data.dataset import GraphDataset
from dqrun.data.packed import PackedGraphs
from dqrun.data.splits import Split, split_for
from dqrun.data.trial_data import TrialData
from dqrun.graphs import SparseRows

MakeConfig = Callable[..., DatasetConfig]


def dataset(graphs: int = 12) -> GraphDataset:
    """Graph g has g % 3 + 1 nodes, all with the feature g, and the label g."""
    counts = torch.arange(graphs) % 3 + 1
    packed = PackedGraphs.from_edges(torch.zeros(2, graphs, dtype=torch.int64), counts, torch.ones_like(counts))
    x = torch.arange(graphs).repeat_interleave(counts).float().unsqueeze(1)
    return GraphDataset("toy", "graph_classification", packed, torch.arange(graphs), graphs, x=x)


def trial(make: MakeConfig, batch_size: int, train: int = 9, self_loops: bool = False) -> TrialData:
    config = make(name="toy", source="folder")
    return TrialData.build(dataset(), Split.from_sizes(train, 10 - train, 2), config, batch_size, self_loops, "cpu")


def seen(data: TrialData, seed: int) -> list[list[int]]:
    return [batch.y.tolist() for batch in data.train_batches(torch.Generator().manual_seed(seed))]


def test_training_shows_each_graph_once_in_a_seeded_order(dataset_config: MakeConfig) -> None:
    data = trial(dataset_config, 4)
    assert sorted(graph for batch in seen(data, 0) for graph in batch) == list(range(9))
    assert seen(data, 0) == seen(data, 0) != seen(data, 1)


@pytest.mark.parametrize(
    ("batch_size", "sizes"), [(4, [4, 5]), (3, [3, 3, 3]), (5, [5, 4]), (100, [9]), (8, [9]), (2, [2, 2, 2, 3])]
)
def test_a_single_leftover_joins_the_batch_before_it(
    batch_size: int, sizes: list[int], dataset_config: MakeConfig
) -> None:
    data = trial(dataset_config, batch_size)
    assert [len(batch) for batch in seen(data, 0)] == sizes
    assert data.steps_per_epoch == len(sizes)


def test_batches_of_one_graph_stay_when_they_are_asked_for(dataset_config: MakeConfig) -> None:
    assert [len(batch) for batch in seen(trial(dataset_config, 1), 0)] == [1] * 9


def test_features_and_targets_belong_to_the_graphs_of_the_batch(dataset_config: MakeConfig) -> None:
    data = trial(dataset_config, 4)
    for batch in data.train_batches(torch.Generator().manual_seed(0)):
        assert torch.equal(batch.x.flatten().long(), batch.y[batch.graph.batch])
        assert torch.equal(batch.graph.node_ptr.diff(), batch.y % 3 + 1)
        assert batch.index is None


def test_a_sample_is_one_seeded_batch_of_training_graphs(dataset_config: MakeConfig) -> None:
    data = trial(dataset_config, 2)

    def sampled(count: int, seed: int) -> list[int]:
        batch = data.sample(count, torch.Generator().manual_seed(seed))
        assert batch.x.flatten().tolist() == [graph for graph in batch.y.tolist() for _ in range(graph % 3 + 1)]
        return batch.y.tolist()

    assert sampled(5, 0) == sampled(5, 0) != sampled(5, 1)
    assert len(set(sampled(5, 0))) == 5 and set(sampled(5, 0)) < set(range(9))
    assert sorted(sampled(100, 0)) == list(range(9))


@pytest.mark.parametrize(("part", "ids"), [("train", range(9)), ("val", [9]), ("test", [10, 11])])
def test_parts_come_in_a_fixed_order_each_time(part: str, ids: range | list[int], dataset_config: MakeConfig) -> None:
    data = trial(dataset_config, 4)
    for _ in range(2):
        assert torch.cat([batch.y for batch in data.batches(part)]).tolist() == list(ids)


def test_validation_structures_are_gathered_once(dataset_config: MakeConfig) -> None:
    data = trial(dataset_config, 4)
    first, second = (next(data.batches("val")) for _ in range(2))
    assert first.graph is second.graph


def test_self_loops_change_edges_but_neither_degrees_nor_features(dataset_config: MakeConfig) -> None:
    plain, looped = (next(trial(dataset_config, 4, self_loops=choice).batches("test")) for choice in (False, True))
    assert plain.graph.csr.num_edges == 2  # one raw self-loop in each graph
    assert looped.graph.csr.in_degree.tolist() == [1] * looped.graph.num_nodes
    assert torch.equal(plain.x, looped.x) and torch.equal(plain.graph.degree_rank, looped.graph.degree_rank)


def test_a_node_task_is_one_batch_with_the_nodes_of_the_part(dataset_config: MakeConfig) -> None:
    packed = PackedGraphs.from_edges(torch.tensor([[0, 1], [1, 2]]), torch.tensor([4]), torch.tensor([2]))
    nodes = GraphDataset("toy", "node_classification", packed, torch.tensor([0, 1, 0, 1]), 2, x=torch.rand(4, 3))
    split = Split(torch.tensor([0, 1]), torch.tensor([2]), torch.tensor([3]))
    config = dataset_config(name="toy", source="folder", task="node_classification")
    data = TrialData.build(nodes, split, config, 1, False, "cpu")
    (train,) = data.train_batches(torch.Generator())
    (test,) = data.batches("test")
    assert train.index is not None and test.index is not None
    assert train.index.tolist() == [0, 1] and test.index.tolist() == [3]
    assert train.graph is test.graph and train.x is test.x and train.y is test.y
    assert (data.in_channels, data.num_categories, data.out_channels, data.steps_per_epoch) == (3, 0, 2, 1)


def test_a_regression_has_one_output(dataset_config: MakeConfig) -> None:
    toy = dataset()
    regression = GraphDataset("toy", "graph_regression", toy.packed, toy.y.float(), 0, category=toy.packed.in_degree)
    config = dataset_config(name="toy", source="folder", task="graph_regression")
    data = TrialData.build(regression, Split.from_sizes(8, 2, 2), config, 4, False, "cpu")
    assert (data.in_channels, data.num_categories, data.out_channels) == (0, 1, 1)
    assert next(data.batches("val")).y.dtype == torch.float32


def test_a_bag_of_words_of_a_whole_graph_is_sparse(dataset_config: MakeConfig) -> None:
    x = torch.zeros(6, 40)
    x[torch.arange(6), torch.arange(6) * 5] = 2.0
    edges = torch.tensor([[0, 1, 2], [1, 2, 3]])
    packed = PackedGraphs.from_edges(edges, torch.tensor([6]), torch.tensor([3]))
    whole = GraphDataset("words", "node_classification", packed, torch.arange(6) % 2, 2, x=x)
    config = dataset_config(name="words", source="folder", task="node_classification")
    data = TrialData.build(whole, Split.from_sizes(2, 2, 2), config, 1, self_loops=True)
    for part in ("train", "val", "test"):
        (batch,) = data.batches(part)
        assert isinstance(batch.x, SparseRows) and torch.equal(batch.x.to_dense(), x)


def inductive() -> GraphDataset:
    """Six graphs of two nodes with three labels each; the last graph is in no part."""
    edges = torch.tensor([[0, 1], [1, 0]]).repeat(1, 6)
    packed = PackedGraphs.from_edges(edges, torch.full((6,), 2), torch.full((6,), 2))
    y = (torch.arange(36).reshape(12, 3) % 2).float()
    y[0, 0] = float("nan")
    return GraphDataset("toy", "node_multilabel", packed, y, 3, x=torch.arange(12.0).unsqueeze(1))


def test_nodes_of_several_graphs_come_in_batches_of_graphs(dataset_config: MakeConfig) -> None:
    split = Split(torch.tensor([0, 1, 2, 3, 5]), torch.tensor([4, 6, 7]), torch.tensor([8, 9]))
    toy = inductive()
    data = TrialData.build(toy, split, dataset_config(features="given"), 2, False)
    assert data.steps_per_epoch == 1 and data.out_channels == 3  # the third graph, alone, joins the two before
    (batch,) = data.train_batches(torch.Generator().manual_seed(0))
    assert batch.index is not None and isinstance(batch.x, torch.Tensor)
    seen = batch.x[batch.index].squeeze(1).long()
    assert sorted(seen.tolist()) == split.train.tolist()
    torch.testing.assert_close(batch.y[batch.index], toy.y[seen], equal_nan=True)
    for part, expected in (("val", [4, 6, 7]), ("test", [8, 9])):
        (batch,) = data.batches(part)
        assert batch.index is not None and isinstance(batch.x, torch.Tensor)
        assert batch.x[batch.index].squeeze(1).tolist() == expected
    assert data.head().split.train.tolist() == [0, 1, 2, 3]
    assert data.targets("test").tolist() == toy.y[8:10].tolist()


def test_a_drawn_split_of_several_graphs_has_whole_graphs() -> None:
    split = split_for(inductive(), ProtocolConfig(name="seeds"), None)
    graphs = [set((split.part(part) // 2).tolist()) for part in ("train", "val", "test")]
    assert [split.part(part).numel() for part in ("train", "val", "test")] == [2 * len(each) for each in graphs]
    assert sorted(set().union(*graphs)) == list(range(6)) and not graphs[0] & graphs[1] and not graphs[0] & graphs[2]
