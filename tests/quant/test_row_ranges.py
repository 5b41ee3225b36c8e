"""Ranges that rows take from themselves: grids, sparse rows, messages, networks and their labels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dqrun.composition.compose import load_configs
from dqrun.config import QuantConfig
from dqrun.graphs import CSR, Graph, SparseRows
from dqrun.nn import GNN
from dqrun.nn.build import build_model
from dqrun.nn.propagate import propagate
from dqrun.quant import (
    ROW,
    Granularity,
    LearnedRowFactor,
    Quantizer,
    QuantSpec,
    RowRange,
    Site,
    UniformRounding,
    Values,
    named_sites,
)

NUM_NODES, HUB = 30, 0


def quantizer(offset: str = "integer", size: int = 0, bits: int = 4, power_of_two: bool = False) -> Quantizer:
    granularity = Granularity("group", size) if size else ROW
    spec = QuantSpec(bits, granularity=granularity, offset=offset, power_of_two=power_of_two)
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


def network(name: str, plan: str, *words: str) -> GNN:
    """A network whose activations have a range per row, and whose weights have one per channel."""
    given = ["dataset=cora", f"model={name}", f"plan={plan}", "quant=int4", "quant.weight_granularity=channel"]
    given += ["quant.activation_granularity=row", "model.hidden=8", "model.layers=2", "model.norm=batch", *words]
    torch.manual_seed(0)
    return build_model(load_configs(given)[0], 6, 0, 3)


CASES = [("gcn", "paper", False), ("gcn", "integer", True), ("gat", "paper", True), ("gin", "integer", True)]


@pytest.mark.parametrize(("name", "plan", "sparse"), [*CASES, ("gin", "paper", True), ("gatv2", "integer", False)])
def test_a_training_step_and_an_evaluation(name: str, plan: str, sparse: bool) -> None:
    model, where = network(name, plan, "method=dq").train(), graph(self_loops=name != "gin")
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


OFFSETS = ("inside", "integer", "real")


def features(rows: int = 7, width: int = 10) -> Tensor:
    """Rows of all kinds: of either sign, far from zero, constant, zero."""
    x = torch.randn(rows, width, generator=torch.Generator().manual_seed(2))
    x[1], x[2], x[3], x[4], x[5] = x[1].abs() + 0.1, 100 + x[2], 5.0, 0.0, -x[5].abs() - 3
    return x


@pytest.mark.parametrize("power_of_two", [False, True])
@pytest.mark.parametrize("offset", OFFSETS)
def test_a_row_is_rounded_to_the_codes_of_its_scales(offset: str, power_of_two: bool) -> None:
    q, x = quantizer(offset, power_of_two=power_of_two), features()
    scales = q.scales(Values(x))
    codes = q.spec.encode(x, scales)
    assert torch.equal(q(x), q.spec.decode(codes, scales))
    assert (scales.scale.log2() % 1 == 0).all() if power_of_two else codes[0].max() == q.spec.qmax
    assert (scales.offset is not None) == (offset == "real")
    assert torch.equal(q(x)[4], torch.zeros(10))


def test_where_zero_lies() -> None:
    """Inside the codes, a whole number of steps away (not more than 16 ranges), or nowhere."""
    x = features()
    inside, integer, real = (quantizer(offset).scales(Values(x)) for offset in OFFSETS)
    spec = QuantSpec(4)
    assert ((inside.zero_point >= spec.qmin) & (inside.zero_point <= spec.qmax)).all()
    away = (spec.qmin - integer.zero_point).flatten()
    assert away[1] > 0 and away[2] > 200 and away[3] == 16 * 15 and away[5] < -15
    assert inside.scale[2] > 3 * integer.scale[2] and real.scale[2] < integer.scale[2]
    assert torch.equal(quantizer("real")(x)[3], x[3]) and torch.equal(quantizer("real")(x).amin(1), x.amin(1))
    errors = [(quantizer(offset)(x) - x).abs().amax(1) for offset in OFFSETS]
    for error, scales in zip(errors, (inside, integer, real), strict=True):
        assert (error <= scales.scale.flatten() * 0.5001 + 1e-5).all()


def test_a_hub_stretches_no_other_rows_range() -> None:
    x = torch.randn(5, 8, generator=torch.Generator().manual_seed(2))
    q = quantizer().eval()
    y = q(x)
    assert all(row.unique().numel() > 4 for row in y)
    x[HUB] *= 1000
    assert torch.equal(q(x)[1:], y[1:])


def test_groups_of_a_row_are_rounded_as_rows() -> None:
    x, groups, rows = features(), quantizer(size=4), quantizer()
    parts = [rows(x[:, first : first + 4]) for first in (0, 4, 8)]
    assert torch.equal(groups(x), torch.cat(parts, 1))
    assert torch.equal(quantizer(size=10)(x), rows(x))
    heads = x.view(7, 5, 2)
    assert torch.equal(groups(heads).view(7, 10), groups(x)) and torch.equal(rows(heads).view(7, 10), rows(x))


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("size", [0, 4])
def test_sparse_rows_are_rounded_as_rows_with_their_zeros(offset: str, size: int) -> None:
    x = features().where(torch.rand(7, 10, generator=torch.Generator().manual_seed(1)) < 0.3, 0.0)
    x[6] = features()[6]
    q, protected = quantizer(offset, size), torch.arange(7) == 3
    expected = quantizer("integer" if offset == "real" else offset)(x, protected)
    assert torch.equal(q(SparseRows.of(x), protected).to_dense(), expected)


def test_a_bag_of_words_loses_nothing() -> None:
    words = torch.rand(20, 50, generator=torch.Generator().manual_seed(0)) < 0.1
    x = words / words.sum(1, keepdim=True).clamp(min=1)
    torch.testing.assert_close(quantizer(bits=2)(SparseRows.of(x)).to_dense(), x, rtol=1e-6, atol=0)


def test_protected_rows_and_elements_without_noise_stay_exact() -> None:
    x, protected = features(), torch.arange(7) % 2 == 0
    for offset in OFFSETS:
        y = quantizer(offset)(x, protected)
        assert torch.equal(y[protected], x[protected]) and not torch.equal(y[1], x[1])
        spec = QuantSpec(4, granularity=ROW, offset=offset)
        noisy = Quantizer(RowRange(spec), UniformRounding(spec, noise_rate=0.5, generator=torch.Generator()))
        changed = noisy(x[1:3]) != x[1:3]
        assert changed.any() and not changed.all() and bool((noisy.eval()(x[1:3]) != x[1:3]).sum() > changed.sum())


def test_the_gradient_passes_every_element() -> None:
    """But for a ReLU that follows, and for end codes where the estimator leaves these out."""
    x = features()[:2].requires_grad_()
    for estimator, relu in (("clipped", False), ("clipped", True), ("clipped_ends", False)):
        spec = QuantSpec(2, granularity=ROW, offset="integer")
        q = Quantizer(RowRange(spec), UniformRounding(spec, estimator))
        y = q(x, relu=relu)
        (gradient,) = torch.autograd.grad(y.sum(), x)
        codes = spec.encode(x, q.scales(Values(x)))
        ends = (codes == spec.qmin) | (codes == spec.qmax)
        expected = ~ends if estimator == "clipped_ends" else (y > 0) | torch.tensor(not relu)
        assert torch.equal(gradient, expected.float()), estimator


def test_a_learned_factor_cuts_the_ends_of_every_row() -> None:
    spec = QuantSpec(4, granularity=ROW, offset="integer")
    scales, x = LearnedRowFactor(spec), features()
    q = Quantizer(scales, UniformRounding(spec, "clipped"))
    assert torch.equal(q(x), quantizer()(x))
    q(x).square().sum().backward()
    assert scales.log_factor.grad is not None and scales.log_factor.grad != 0
    with torch.no_grad():
        scales.log_factor -= 0.5
    cut = q.eval()(x)
    assert cut[0].max() < 0.9 * x[0].max() and cut[0].unique().numel() > 3


@pytest.mark.parametrize("method", ["noisy", "lsq", "dq", "ptq"])
def test_node_rows_have_their_ranges_under_every_method(method: str) -> None:
    """Numbers that stand alone in their rows share one range, which is observed."""
    found = dict(named_sites(network("gat", "paper", f"method={method}", "plan.rules={}")))
    kinds = {name: type(site.quantizer.scales) for name, site in found.items() if site.quantizer is not None}
    own = LearnedRowFactor if method == "lsq" else RowRange
    for name, kind in kinds.items():
        shared = found[name].is_weight or name.endswith(("logit", "coefficient"))
        assert (kind is own) != shared, name
    features_of_one = network("gin", "integer", f"method={method}", "dataset=reddit_binary")
    assert isinstance(features_of_one.states[1].quantizer.scales, own)


def test_a_feature_that_stands_alone_is_not_made_exact() -> None:
    words = ["dataset=reddit_binary", "model=gin", "plan=integer", "quant=int4", "quant.activation_granularity=row"]
    model = build_model(load_configs([*words, "plan.rules={}"])[0], 1, 0, 2)
    for name, site in named_sites(model):
        rows = site.quantizer is not None and site.quantizer.spec.granularity.per_row
        assert not rows or not name.startswith(("states.0", "layers.0.mlp.0")), name
        assert rows or site.quantizer is None or site.is_weight or name.startswith(("states.0", "layers.0.mlp.0")), name


@pytest.mark.parametrize("name", ["gcn", "gat", "gatv2", "gin", "sage"])
@pytest.mark.parametrize(
    "options", [["row_offset=integer"], ["row_offset=real"], ["activation_granularity=group", "group_size=4"]]
)
def test_features_give_the_same_outputs_sparse_and_dense(name: str, options: list[str]) -> None:
    """With a learned share of the ranges as well, where zero does not stay the end of a row's range."""
    words = [f"quant.{option}" for option in options]
    model = network(name, "integer", "method=dq", "method.learned_scale=true", *words)
    for module in model.modules():
        if isinstance(module, LearnedRowFactor):
            module.log_factor.data.fill_(-0.3)
    where = graph(self_loops=name in ("gcn", "gat", "gatv2"))
    x = torch.randn(NUM_NODES, 6, generator=torch.Generator().manual_seed(1)).clamp(min=-0.1)
    x = torch.where(x.abs() > 0.09, x, 0.0)
    model.train()(SparseRows.of(x), where)
    model.eval()
    torch.testing.assert_close(model(SparseRows.of(x), where), model(x, where))


def test_labels() -> None:
    def label(**options: object) -> str:
        return QuantConfig(bits=2, weight_bits=2, activation_bits=2, **options).label

    assert label(activation_granularity="row") == "int2-row" and label(row_offset="real") == "int2"
    assert label(activation_granularity="row", row_scale="power_of_two", row_offset="real") == "int2-row-real-pow2"
    assert label(activation_granularity="group", weight_granularity="channel") == "int2-channel-group32"
    weights_alone = QuantConfig(None, 4, None, activation_granularity="row")
    assert weights_alone.label == "w4a32" and weights_alone.effective.activation_granularity == "tensor"


@pytest.mark.parametrize("heads", [None, 3])
def test_messages_have_the_scale_of_their_source(heads: int | None) -> None:
    csr = graph(self_loops=True).csr
    generator = torch.Generator().manual_seed(3)
    shape = () if heads is None else (heads,)
    h, weight = torch.randn(NUM_NODES, *shape, 4, generator=generator), torch.rand(csr.num_edges, *shape)
    site = Site()
    site.quantizer = quantizer()
    protected: Tensor = torch.arange(NUM_NODES) % 3 == 0
    expected = torch.zeros_like(h)
    rounded = torch.where(protected.view(-1, *[1] * (h.dim() - 1)), h, site.quantizer(h))
    expected = expected.index_add(0, csr.row, weight.unsqueeze(-1) * rounded[csr.col])
    torch.testing.assert_close(propagate(csr, h, weight, site, protected), expected)
