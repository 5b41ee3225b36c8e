"""Methods that learn widths of rows: `a2q` and `degree_bits`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dqrun.analysis.networks import Datasets
from dqrun.analysis.rows import load_runs
from dqrun.config import RunConfig
from dqrun.errors import ConfigError, DataError
from dqrun.graphs import CSR, Batch, Graph, SparseRows
from dqrun.methods import make_method
from dqrun.nn import GNN
from dqrun.nn.build import build_model
from dqrun.quant import ROW, Phase, QuantSpec, Values, named_sites
from dqrun.quant.row_tables import NearestTable, NodeTable
from dqrun.quant.row_widths import DegreeRange, row_widths, squared_excess, whole_bits
from dqrun.runs.model_file import load_model
from dqrun.runs.outcome import Outcome, placed, record
from dqrun.runs.store import MODEL, Results
from dqrun.training.course import Course
from dqrun.training.loop import fit
from dqrun.training.problem import Problem
from dqrun.training.seeding import Streams
from dqrun.training.state import Watcher
from dqrun.training.tasks import Task
from tests.methods.conftest import config_of

Run = Callable[[RunConfig], Outcome]
ROWS = ("quant=int4", "quant.activation_granularity=row", "quant.weight_granularity=channel")
NODES = 40


def node_batch(seed: int = 0, num_nodes: int = NODES, sparse: bool = False) -> Batch:
    """A graph with a hub, whose nodes have two classes that features tell."""
    generator = torch.Generator().manual_seed(seed)
    ends = torch.randint(num_nodes, (2, 3 * num_nodes), generator=generator)
    ends[1, : 2 * num_nodes] = 0
    edges = torch.cat([ends, torch.arange(num_nodes).expand(2, -1)], 1)
    y = torch.arange(num_nodes) % 2
    x = torch.rand(num_nodes, 12, generator=generator) * (1 + y.unsqueeze(1))
    x = torch.where(x > 0.8, x, 0.0) if sparse else x
    ones, pointer = torch.ones(num_nodes), torch.tensor([0, num_nodes])
    graph = Graph(CSR.from_edge_index(edges, num_nodes), pointer, torch.zeros(num_nodes, dtype=torch.int64), ones)
    return Batch(graph, SparseRows.of(x) if sparse else x, y, torch.arange(num_nodes))


def trained(words: tuple[str, ...], batch: Batch, num_nodes: int = NODES) -> tuple[RunConfig, GNN]:
    config = config_of("dataset=cora", "model=gcn", "train.epochs=40", "plan=integer", *ROWS, *words)
    torch.manual_seed(0)
    model, method = build_model(config, 12, 0, 2, num_nodes=num_nodes), make_method(config)
    problem = Problem(Task("node_classification"), lambda _: [batch], lambda: [batch], lambda: [batch])
    fit(model, method, problem, Course.of(method, config.train), Streams.of_seed(0), Watcher())
    return config, model


def mean_bits(model: GNN) -> float:
    found = [each.row_bits for each in row_widths(model)]
    return torch.cat(found).mean().item()


@pytest.mark.parametrize("method", ["a2q", "degree_bits"])
@pytest.mark.parametrize("sparse", [False, True])
def test_widths_come_to_the_target_and_differ(method: str, sparse: bool, one_thread: None) -> None:
    batch = node_batch(sparse=sparse)
    words = (f"method={method}", "method.target_bits=2.5", "train.epochs=160")
    _, model = trained(words, batch)
    assert 2.0 <= mean_bits(model) <= 3.0
    assert any(each.row_bits.unique().numel() > 1 for each in row_widths(model))


@pytest.mark.parametrize("method", ["a2q", "degree_bits"])
def test_no_row_has_more_values_than_its_width_allows(method: str, one_thread: None) -> None:
    _, model = trained((f"method={method}", "train.epochs=6"), node_batch())
    seen: dict[str, Tensor] = {}
    sites = {name: site for name, site in named_sites(model) if site.quantizer is not None and not site.is_weight}
    for name, site in sites.items():
        site.register_forward_hook(lambda _, args, y, name=name: seen.setdefault(name, y))
    batch = node_batch()
    model.eval()(batch.x, batch.graph)
    assert len(seen) == 4
    for name, y in seen.items():
        bits = sites[name].quantizer.scales.row_bits
        assert all(row.unique().numel() <= 2 ** int(b) for row, b in zip(y, bits, strict=True))


def test_widths_are_fixed_after_the_epochs_that_learn_them(one_thread: None) -> None:
    config = config_of("dataset=cora", "model=gcn", "train.epochs=8", *ROWS, "method=a2q", "method.width_epochs=3")
    stages = make_method(config).stages(config.train)
    assert [(stage.name, stage.epochs, stage.kept) for stage in stages if stage.epochs] == [
        ("widths", 3, False),
        ("quantise", 5, True),
    ]
    model = build_model(config, 12, 0, 2, num_nodes=NODES)
    learns = []
    for stage in stages[-2:]:
        make_method(config).before_epoch(model, 1, stage)
        learns.append({each.bits.requires_grad for each in row_widths(model)})
    assert learns == [{True}, {False}]


def test_a_table_per_node_is_refused_for_another_graph(one_thread: None) -> None:
    _, model = trained(("method=a2q", "train.epochs=2"), node_batch())
    assert {type(each) for each in row_widths(model)} == {NodeTable}
    other = node_batch(num_nodes=30)
    with pytest.raises(DataError, match="each of the 40 nodes that were trained on"):
        model(other.x, other.graph)


def test_degrees_need_no_table_of_nodes(one_thread: None) -> None:
    _, model = trained(("method=degree_bits", "train.epochs=2"), node_batch())
    other = node_batch(num_nodes=30)
    assert model.eval()(other.x, other.graph).shape == (30, 2)
    assert copy.deepcopy(model)(other.x, other.graph).equal(model(other.x, other.graph))
    provider = row_widths(model)[0]
    assert isinstance(provider, DegreeRange)
    degrees = other.graph.csr.in_degree
    provider.bits.data = torch.arange(provider.bits.numel()) % 8 + 1.0
    model(other.x, other.graph)
    assert torch.equal(provider.row_bits, degrees.clamp(max=64) % 8 + 1.0)


@pytest.mark.parametrize("method", ["a2q", "degree_bits"])
@pytest.mark.parametrize("model", ["gin", "gat"])
def test_graphs_that_differ(run: Run, method: str, model: str, tmp_path: Path) -> None:
    """The row has the mean width of the test data, and the model file gives the network again."""
    config = config_of(*ROWS, f"model={model}", f"method={method}", "method.bits_lr=0.5", "train.epochs=6")
    results = Results(tmp_path)
    outcome = placed(run(config), results)
    record(outcome, config, results)
    assert outcome.row.status == "done" and outcome.row.average_bits is not None
    assert 1 < outcome.row.average_bits < 32  # a scalar feature and what follows it are in FP32
    loaded, _ = load_model(tmp_path / "runs" / outcome.row.run_id / MODEL)
    assert outcome.model is not None
    for name, value in outcome.model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    found = Datasets().costs(load_runs([tmp_path])[0][0])
    assert found.average_bits == pytest.approx(outcome.row.average_bits)


def test_the_nearest_pair() -> None:
    table = NearestTable(QuantSpec(4, granularity=ROW), 5)
    table.log_scale.data = torch.tensor([3.0, 0.1, 1.0, 0.3, 10.0]).log()
    table.bits.data = torch.tensor([1.0, 2.0, 2.0, 1.0, 1.0])
    table.signed.fill_(False)
    x = torch.tensor([[0.0, 0.25], [0.31, 0.0], [2.9, 1.0], [7.0, 0.0], [99.0, 0.0], [0.0, 0.0]])
    reach = table.log_scale.exp() * (2 ** whole_bits(table.bits) - 1)
    wanted = (x.amax(1, keepdim=True) - reach).abs()
    found = table._pairs_of(x, table.log_scale.exp(), table.bits)
    assert torch.equal(wanted.gather(1, found.unsqueeze(1)).flatten(), wanted.amin(1))


def test_a_table_begins_with_the_sizes_of_rows_and_learns_whether_values_have_signs() -> None:
    x = torch.tensor([[0.0, 0.25], [0.5, 0.125], [0.0, 0.0]])
    table = NodeTable(QuantSpec(4, granularity=ROW), 3).train()
    assert table.observe(Values(torch.zeros(3, 2)), Phase.QUANTIZE) and not table.ready
    table.observe(Values(x), Phase.QUANTIZE)
    assert table.ready and not table.signed
    torch.testing.assert_close(table.log_scale.exp() * 15, torch.tensor([0.25, 0.5, 0.375]))
    table.observe(Values(-x), Phase.QUANTIZE)
    assert table.signed
    assert not table.eval().observe(Values(x), Phase.QUANTIZE)


def rounding_table() -> NodeTable:
    """After a step that has rounded 3 rows of 5 numbers at 4 bits."""
    table, x = NodeTable(QuantSpec(4, granularity=ROW), 3).train(), Values(torch.rand(3, 5))
    table.observe(x, Phase.QUANTIZE)
    table.rounded(x, nn.Identity())
    return table


def test_the_penalty_is_the_squared_excess_and_is_taken_once() -> None:
    table = rounding_table()
    excess = squared_excess(nn.Sequential(table), target_bits=2.5)
    assert excess is not None and excess.item() == pytest.approx(3 * 1.5**2)
    excess.backward()
    assert torch.allclose(table.bits.grad, torch.full((3,), 3.0))
    assert squared_excess(nn.Sequential(table), 2.5) is None


def test_a_hub_gets_more_bits_than_other_nodes(one_thread: None) -> None:
    """Its row is a sum of many: the error of its row is the largest."""
    batch = node_batch()
    words = ("method=degree_bits", "method.target_bits=2.0", "method.bits_lr=0.1", "model=gin", "plan=paper")
    _, model = trained(words, batch)
    widths = {name: site.quantizer.scales for name, site in named_sites(model) if "aggregate" in name}
    hub = int(batch.graph.csr.in_degree.argmax())
    model.eval()(batch.x, batch.graph)
    assert all(each.row_bits[hub] > each.row_bits.mean() for each in widths.values())


@pytest.mark.parametrize(
    ("word", "rule"),
    [
        ("quant.activation_granularity=tensor", r"quant.activation_granularity must be row for method=a2q"),
        ("quant.row_scale=power_of_two", r"quant.row_scale must be real"),
        ("quant.symmetric_activations=true", r"quant.symmetric_activations must be false"),
        ("method.target_bits=0.5", r"method.target_bits must be >= 1"),
        ("method.memory_weight=0", r"method.memory_weight must be > 0"),
        ("method.bits_lr=0", r"method.bits_lr must be > 0"),
        ("method.width_epochs=0", r"method.width_epochs must be >= 1 or null"),
        ("method.width_epochs=3", r"method.width_epochs must leave an epoch of the 3 of training"),
        ("method.scale_lr=0", r"method.scale_lr must be > 0"),
        ("method.pairs=0", r"method.pairs must be >= 1"),
    ],
)
def test_rules(word: str, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        config_of(*ROWS, "method=a2q", word)


def test_no_program_has_rows_of_several_widths() -> None:
    words = (*ROWS, "method=degree_bits", "plan=integer", "evaluate.engine=integer")
    with pytest.raises(ConfigError, match=r"evaluate\.engine must be float for method=degree_bits"):
        config_of(*words)
