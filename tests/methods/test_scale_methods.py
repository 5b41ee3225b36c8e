"""Methods of learned ranges in whole networks: a step moves what is learned, an evaluation gives numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from dqrun import kernels
from dqrun.composition.compose import load_configs
from dqrun.config import RunConfig
from dqrun.errors import ConfigError
from dqrun.graphs import CSR, Graph, SparseRows
from dqrun.integer.lower import lower
from dqrun.integer.simulation import simulate
from dqrun.kernels.integer import Codes
from dqrun.methods import make_method
from dqrun.nn import GNN
from dqrun.nn.build import build_model

NUM_NODES, CHANNELS = 30, 6
METHODS = {
    "pact": "method=pact",
    "qlr": "method=qlr",
    "qlr of rows": "method=qlr quant.activation_granularity=row",
    "qlr off zero": "method=qlr method.zero_point=real",
    "bt": "method=qlr method.zero_point=eight_bits method.skewed=true quant.bits=2",
}

PLACES = [
    *(("gcn", "paper"), ("gcn", "integer"), ("gat", "paper"), ("gin", "paper"), ("gin", "integer")),
    *(("sage", "integer"), ("gatv2", "paper")),
]


@pytest.fixture(autouse=True)
def plain_torch() -> Iterator[None]:
    """In one thread, without a compilation: the numbers are the same, and each tensor here is tiny."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with kernels.use("reference"):
        yield
    torch.set_num_threads(before)


def graph(self_loops: bool) -> Graph:
    edges = torch.randint(NUM_NODES, (2, 90), generator=torch.Generator().manual_seed(0))
    if self_loops:
        edges = torch.cat([edges[:, edges[0] != edges[1]], torch.arange(NUM_NODES).expand(2, -1)], 1)
    batch = torch.zeros(NUM_NODES, dtype=torch.int64)
    return Graph(CSR.from_edge_index(edges, NUM_NODES), torch.tensor([0, NUM_NODES]), batch, torch.ones(NUM_NODES))


def features() -> Tensor:
    x = torch.randn(NUM_NODES, CHANNELS, generator=torch.Generator().manual_seed(1))
    return torch.where(x > 0.8, x, 0.0)


def config_of(words: str) -> RunConfig:
    given = ["dataset=cora", "quant=int4", "model.hidden=8", "model.layers=2", "model.norm=batch"]
    return composed(" ".join([*given, *words.split()]))


@cache
def composed(words: str) -> RunConfig:
    """Once for all tests: composition takes most of their time."""
    (config,) = load_configs(words.split())
    return config


def stepped(config: RunConfig, where: Graph, x: Tensor | SparseRows, steps: int = 2) -> GNN:
    """The network after some steps, in evaluation mode; every learned parameter of a quantiser has moved."""
    torch.manual_seed(0)
    model, method = build_model(config, CHANNELS, 0, 3).train(), make_method(config)
    optimizer = torch.optim.Adam(method.parameter_groups(model, config.train), lr=0.01)
    before: dict[str, Tensor] = {}
    for step in range(steps):
        loss = model(x, where).square().mean()
        penalty = method.penalty(model)
        loss = loss if penalty is None else loss + penalty
        if step == 0:
            before = {name: value.detach().clone() for name, value in model.named_parameters() if "quantizer" in name}
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = dict(model.named_parameters())
    assert before and all(bool(after[name].isfinite().all()) for name in before)
    assert sum(not torch.equal(after[name], value) for name, value in before.items()) > len(before) / 2
    return model.eval()


@pytest.mark.parametrize(("name", "plan"), PLACES)
@pytest.mark.parametrize("words", METHODS.values(), ids=METHODS)
def test_steps_and_an_evaluation(words: str, name: str, plan: str) -> None:
    config = config_of(f"{words} model={name} plan={plan}")
    where, x = graph(self_loops=name not in ("gin", "sage")), features()
    model = stepped(config, where, SparseRows.of(x))
    y = model(x, where)
    assert bool(y.isfinite().all())
    torch.testing.assert_close(model(SparseRows.of(x), where), y)


@pytest.mark.parametrize("words", ["method=pact", "method=qlr"])
@pytest.mark.parametrize("name", ["gcn", "sage"])
def test_weights_of_edges(words: str, name: str) -> None:
    for plan in ("paper", "integer"):
        where = graph(self_loops=name == "gcn")
        weight = torch.rand(where.csr.num_edges, generator=torch.Generator().manual_seed(2))
        model = stepped(config_of(f"{words} model={name} plan={plan}"), replace(where, edge_weight=weight), features())
        assert not torch.equal(model(features(), where), model(features(), replace(where, edge_weight=weight)))


@pytest.mark.parametrize("bits", [2, 8])
@pytest.mark.parametrize("words", ["method=pact", "method=pact method.weight_range=least_error", "method=qlr"])
@pytest.mark.parametrize("name", ["gcn", "gin"])
def test_the_program_gives_the_codes_of_the_network(words: str, name: str, bits: int) -> None:
    where = graph(self_loops=name == "gcn")
    model = stepped(config_of(f"{words} model={name} plan=integer quant.bits={bits}"), where, features())
    judge = simulate(model, features(), where)
    assert not judge.tie
    values = lower(model).trace(features(), where)
    for site, expected in judge.codes.items():
        value = values[site]
        assert isinstance(value, Codes) and torch.equal(value.unpack().int(), expected), site


def test_a_grid_without_zero_has_no_program() -> None:
    config = config_of("method=qlr method.zero_point=real model=gcn plan=integer")
    model = stepped(config, graph(self_loops=True), features())
    with pytest.raises(ConfigError, match="must be rounded to equidistant values in an integer program"):
        lower(model)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("method=pact method.clip_decay=-1", "method.clip_decay must be >= 0, got -1"),
        ("method=pact method.clip_start=zero", "method.clip_start must be one of observed, least_error, got 'zero'"),
        ("method=pact method.learned_scale=false", "method.learned_scale must be true for method=pact"),
        ("method=qlr method.zero_point=no", "method.zero_point must be one of integer, real, eight_bits, got 'no'"),
        ("method=pact quant.activation_granularity=row", "quant.activation_granularity must be tensor for method=pact"),
        ("method=qlr method.zero_point=real quant.activation_granularity=row", "method.zero_point must be integer for"),
        ("method=qlr method.candidates=0", "method.candidates must be >= 1, got 0"),
        ("method=qlr method.zero_point=eight_bits quant.bits=3", "quant.weight_bits must be 2, 4 or 8 for"),
    ],
)
def test_rules(words: str, line: str) -> None:
    with pytest.raises(ConfigError) as error:
        config_of(words)
    assert line in str(error.value)


def test_pacts_penalty_is_the_square_of_each_end() -> None:
    config = config_of("method=pact method.clip_decay=0.1 model=gcn plan=integer")
    model, method = build_model(config, CHANNELS, 0, 3).train(), make_method(config)
    assert method.penalty(model) is None
    model(features(), graph(self_loops=True))
    penalty = method.penalty(model)
    ends = []
    for site in (model.states[0], model.states[1], *(layer.sites.features for layer in model.message_passing)):
        scale, zero_point, _ = site.quantizer.fixed_scales()
        ends += [scale * (end - zero_point) for end in (site.quantizer.spec.qmin, site.quantizer.spec.qmax)]
    assert penalty is not None
    torch.testing.assert_close(penalty, 0.05 * torch.stack(ends).square().sum())
    penalty.backward()
