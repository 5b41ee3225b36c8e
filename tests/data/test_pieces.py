"""Batches that are parts of one graph."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
import torch

from dqrun.config import DatasetConfig, LoaderConfig
from dqrun.data.arrays import GraphArrays
from dqrun.data.pieces import prefetched
from dqrun.data.splits import Split
from dqrun.data.stored_rows import StoredRows, stored
from dqrun.data.trial_data import TrialData
from dqrun.errors import ConfigError, DataError

NODES = 50
SPLIT = Split(torch.arange(0, 40), torch.arange(40, 45), torch.arange(45, 50))
CONFIG = DatasetConfig("toy", "folder", "node_classification", features="given", path="x")


@pytest.fixture
def make() -> Callable[..., TrialData]:
    """Trial data of a ring of 50 nodes with chords; a node's only feature is its id."""
    ring = torch.arange(NODES)
    edges = torch.cat([torch.stack([ring, (ring + step) % NODES]) for step in (1, -1, 7, 13)], dim=1)
    arrays = GraphArrays(
        edge_index=edges, node_counts=torch.tensor([NODES]), edge_counts=torch.tensor([edges.size(1)]),
        y=ring % 2, num_classes=2, x=ring.float().unsqueeze(1),
    )  # fmt: skip

    def made(**options: object) -> TrialData:
        dataset = arrays.dataset("toy", "node_classification")
        loader = LoaderConfig(**options)  # type: ignore[arg-type]
        return TrialData.build(dataset, SPLIT, CONFIG, 1, True, loader=loader)

    return made


def epoch(data: TrialData, seed: int) -> list[tuple[list[int], list[int]]]:
    """The ids of the training nodes of each batch, and of all its nodes."""
    found = []
    for batch in data.train_batches(torch.Generator().manual_seed(seed)):
        assert isinstance(batch.x, torch.Tensor) and batch.index is not None
        nodes = batch.x[:, 0].long()
        assert torch.equal(batch.y, nodes % 2)
        found.append((nodes[batch.index].tolist(), nodes.tolist()))
    return found


@pytest.mark.parametrize(
    "options",
    [{"name": "neighbor", "fanouts": [2, 2], "batch_size": 13}, {"name": "cluster", "parts": 7, "parts_per_batch": 2}],
)
def test_each_training_node_comes_once_in_an_epoch(options: dict[str, object], make: Callable[..., TrialData]) -> None:
    if options["name"] == "cluster":
        pytest.importorskip("pymetis")
    data = make(**options)
    first, again, other = epoch(data, 1), epoch(data, 1), epoch(data, 2)
    for drawn in (first, other):
        assert sorted(node for batch, _ in drawn for node in batch) == list(range(40))
        assert len(drawn) == data.steps_per_epoch
    assert first == again != other


def test_one_node_that_is_left_joins_the_batch_before(make: Callable[..., TrialData]) -> None:
    sizes = [len(batch) for batch, _ in epoch(make(name="neighbor", fanouts=[1], batch_size=13), 0)]
    assert sizes == [13, 13, 14]


def test_evaluation_sees_the_whole_graph(make: Callable[..., TrialData]) -> None:
    data = make(name="neighbor", fanouts=[1], batch_size=10)
    (batch,) = data.batches("val")
    assert batch.graph.num_nodes == NODES and batch.index is not None and batch.index.tolist() == SPLIT.val.tolist()
    sampled = [batch.graph.num_nodes for batch in data.calibration_batches()]
    assert len(sampled) == 4 and max(sampled) < NODES


def test_a_rehearsal_has_one_batch(make: Callable[..., TrialData]) -> None:
    assert make(name="neighbor", fanouts=[1], batch_size=10).head().steps_per_epoch == 1


def test_several_graphs_are_refused(make: Callable[..., TrialData]) -> None:
    arrays = GraphArrays(
        edge_index=torch.tensor([[0, 0], [1, 1]]), node_counts=torch.tensor([2, 2]), edge_counts=torch.tensor([1, 1]),
        y=torch.tensor([0, 1, 0, 1]), num_classes=2, x=torch.zeros(4, 1),
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"loader\.name must be full for toy, which has 2 graphs, got 'neighbor'"):
        TrialData.build(
            arrays.dataset("toy", "node_classification"), SPLIT, CONFIG, 1, True, loader=LoaderConfig("neighbor")
        )


def test_an_error_in_the_thread_is_raised_and_the_thread_ends() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    got = prefetched(items())
    assert next(got) == 1
    with pytest.raises(ValueError, match="broken"):
        next(got)
    assert not [thread for thread in threading.enumerate() if thread.name == "batches"]


def test_who_stops_early_leaves_no_thread() -> None:
    got = prefetched(iter(range(1000)))
    assert [next(got), next(got)] == [0, 1]
    got.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name == "batches"]


@pytest.mark.parametrize(("bits", "width", "bytes_of_a_row"), [(8, 5, 13), (4, 5, 11), (4, 6, 11)])
def test_stored_rows_are_within_half_a_step(bits: int, width: int, bytes_of_a_row: int) -> None:
    x = torch.randn(20, width) * torch.logspace(-3, 3, 20).unsqueeze(1)
    x[3] = 2.5
    rows = StoredRows.of(x, bits)
    found = rows.gather(torch.arange(20))
    step = (x.amax(1) - x.amin(1)) / (2**bits - 1)
    assert bool(((found - x).abs() <= step.unsqueeze(1) * 0.5001 + 1e-6 * x.abs()).all())
    assert torch.equal(found, rows.lowest + step_codes(rows) * rows.step)
    assert torch.equal(found[3], x[3]) and rows.nbytes == 20 * bytes_of_a_row
    assert torch.equal(rows.gather(torch.tensor([7, 0])), found[[7, 0]])


def step_codes(rows: StoredRows) -> torch.Tensor:
    """The codes as float32 [N, F]."""
    if rows.bits == 8:
        return rows.codes.float()
    return torch.stack([rows.codes & 15, rows.codes >> 4], dim=2).flatten(1)[:, : rows.in_channels].float()


@pytest.mark.parametrize("by_column", [False, True])
def test_a_range_beyond_float32_is_refused(by_column: bool) -> None:
    x = torch.full((2, 2), 3e38)
    assert StoredRows.of(x, 8, by_column).gather(torch.tensor([0, 1])).equal(x)
    x[0, 0] = x[1, 1] = -3e38
    with pytest.raises(DataError, match=r"loader\.feature_store must be float32 for features whose range"):
        StoredRows.of(x, 8, by_column)


@pytest.mark.parametrize(("bits", "bytes_of_a_row"), [(8, 5), (4, 3)])
def test_stored_columns_have_a_range_each(bits: int, bytes_of_a_row: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dqrun.data.stored_rows.ROWS_AT_ONCE", 7)
    x = torch.randn(20, 5) * torch.logspace(-3, 3, 5)
    x[:, 2] = 2.5
    rows = StoredRows.of(x, bits, by_column=True)
    found = rows.gather(torch.arange(20))
    step = (x.amax(0) - x.amin(0)) / (2**bits - 1)
    assert bool(((found - x).abs() <= step * 0.5001 + 1e-6 * x.abs()).all())
    assert torch.equal(found, rows.lowest + step_codes(rows) * rows.step)
    assert torch.equal(found[:, 2], x[:, 2]) and rows.nbytes == 20 * bytes_of_a_row + 5 * 8
    assert torch.equal(rows.gather(torch.tensor([7, 0])), found[[7, 0]])


def test_the_store_holds_features_that_the_data_gives(make: Callable[..., TrialData]) -> None:
    data = make(feature_store="int8")
    assert isinstance(data.features, StoredRows) and stored(data.features, "int4") is data.features
    by_column = make(feature_store="int4_column").features
    assert isinstance(by_column, StoredRows) and by_column.bits == 4 and by_column.lowest.shape == (1, 1)
    (batch,) = data.batches("train")
    assert torch.equal(batch.x, torch.arange(50.0).unsqueeze(1))  # type: ignore[arg-type]  # a row of one value is exact
