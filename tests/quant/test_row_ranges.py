"""Scales that each row takes from itself fit the interface: a provider in ten lines, through a training step."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dqrun.composition.compose import load_configs
from dqrun.graphs import CSR, Graph, SparseRows, dense
from dqrun.nn import GNN
from dqrun.nn.build import build_model
from dqrun.nn.propagate import propagate
from dqrun.quant import (
    ROW,
    Quantizable,
    Quantizer,
    QuantSpec,
    ScaleProvider,
    Scales,
    Site,
    UniformRounding,
    named_sites,
)

NUM_NODES, HUB = 30, 0


class RowRange(ScaleProvider):
    """The range of each row, from the row itself, in training and in evaluation."""

    def forward(self, tensor: Quantizable[object]) -> Scales:
        x = dense(tensor.x).detach()
        inside = list(range(1, x.dim()))
        return self.spec.scales(x.amin(inside, keepdim=True), x.amax(inside, keepdim=True))


def quantizer(spec: QuantSpec) -> Quantizer:
    spec = replace(spec, granularity=ROW)
    return Quantizer(RowRange(spec), UniformRounding(spec, "clipped"))


def graph(self_loops: bool) -> Graph:
    generator = torch.Generator().manual_seed(0)
    edges = torch.randint(NUM_NODES, (2, 90), generator=generator)
    if self_loops:
        edges = torch.cat([edges[:, edges[0] != edges[1]], torch.arange(NUM_NODES).expand(2, -1)], 1)
    batch = torch.zeros(NUM_NODES, dtype=torch.int64)
    protected = torch.rand(1, NUM_NODES, generator=generator) < 0.2
    made = Graph(CSR.from_edge_index(edges, NUM_NODES), torch.tensor([0, NUM_NODES]), batch, torch.ones(NUM_NODES))
    return made.with_protection_masks(protected)


def network(name: str, plan: str) -> GNN:
    """A network whose activations have a range per row, and whose weights have one per channel."""
    words = [
        "dataset=cora",
        f"model={name}",
        f"plan={plan}",
        "quant=int4",
        "method=dq",
        "quant.weight_granularity=channel",
    ]
    (config,) = load_configs([*words, "model.hidden=8", "model.layers=2", "model.norm=batch"])
    torch.manual_seed(0)
    model = build_model(config, 6, 0, 3)
    for site in dict(named_sites(model)).values():
        if site.quantizer is not None and not site.is_weight:
            site.quantizer = quantizer(site.quantizer.spec)
    return model


@pytest.mark.parametrize("plan", ["paper", "integer"])
@pytest.mark.parametrize("name", ["gcn", "gat", "gin"])
@pytest.mark.parametrize("sparse", [False, True])
def test_a_training_step_and_an_evaluation(name: str, plan: str, sparse: bool) -> None:
    model, where = network(name, plan).train(), graph(self_loops=name != "gin")
    x = torch.randn(NUM_NODES, 6, generator=torch.Generator().manual_seed(1))
    x = torch.where(x > 1.2, x, 0.0) if sparse else x
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    before = {parameter: value.detach().clone() for parameter, value in model.named_parameters()}
    loss = model(SparseRows.of(x) if sparse else x, where).square().mean()
    loss.backward()
    optimizer.step()
    assert bool(loss.isfinite())
    still = [n for n, value in model.named_parameters() if torch.equal(value, before[n]) and "bias" not in n]
    assert still == []
    evaluated = model.eval()(x, where.with_protection_masks(None))
    assert bool(evaluated.isfinite().all())


def test_a_hub_stretches_no_other_rows_range() -> None:
    x = torch.randn(5, 8, generator=torch.Generator().manual_seed(2))
    q = quantizer(QuantSpec(4)).eval()
    y = q(x)
    assert all(row.unique().numel() > 4 for row in y)
    x[HUB] *= 1000
    assert torch.equal(q(x)[1:], y[1:])


@pytest.mark.parametrize("heads", [None, 3])
def test_messages_have_the_scale_of_their_source(heads: int | None) -> None:
    csr = graph(self_loops=True).csr
    generator = torch.Generator().manual_seed(3)
    shape = () if heads is None else (heads,)
    h, weight = torch.randn(NUM_NODES, *shape, 4, generator=generator), torch.rand(csr.num_edges, *shape)
    site = Site()
    site.quantizer = quantizer(QuantSpec(4))
    protected: Tensor = torch.arange(NUM_NODES) % 3 == 0
    expected = torch.zeros_like(h)
    rounded = torch.where(protected.view(-1, *[1] * (h.dim() - 1)), h, site.quantizer(h))
    expected = expected.index_add(0, csr.row, weight.unsqueeze(-1) * rounded[csr.col])
    torch.testing.assert_close(propagate(csr, h, weight, site, protected), expected)
