"""`method=binary`: what stands at each point, its stages, its errors, and a training step over architectures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from dqrun import kernels
from dqrun.composition.compose import load_configs
from dqrun.config import TrainConfig
from dqrun.errors import ConfigError
from dqrun.graphs import CSR, Batch, Graph, SparseRows
from dqrun.methods import make_method
from dqrun.methods.binary import Binary
from dqrun.nn import GNN
from dqrun.nn.attention import rounded_coefficients
from dqrun.nn.build import build_model
from dqrun.quant import Phase, RangeObserver, named_sites
from dqrun.quant.binary_weights import Bases, Salient, TernaryRounding, TwoBinaries
from dqrun.quant.estimators import Biper, Clipped, Reste
from dqrun.quant.signs import BoolRounding, SignRounding

NODES, CHANNELS, CLASSES = 30, 6, 3
GIVEN = ("dataset=cora", "quant=int1", "method=binary", "plan=products", "model.hidden=8", "train.epochs=10")


def made(*words: str) -> tuple[GNN, Binary]:
    config = load_configs([*GIVEN, *words])[0]
    config.validate()
    torch.manual_seed(0)
    method = make_method(config)
    assert isinstance(method, Binary)
    return build_model(config, CHANNELS, 0, CLASSES), method


def graph(self_loops: bool) -> Graph:
    generator = torch.Generator().manual_seed(0)
    edges = torch.randint(NODES, (2, 90), generator=generator)
    if self_loops:
        edges = torch.cat([edges[:, edges[0] != edges[1]], torch.arange(NODES).expand(2, -1)], 1)
    batch = torch.zeros(NODES, dtype=torch.int64)
    return Graph(CSR.from_edge_index(edges, NODES), torch.tensor([0, NODES]), batch, torch.ones(NODES))


def features() -> Tensor:
    return torch.randn(NODES, CHANNELS, generator=torch.Generator().manual_seed(1))


def weights(model: GNN) -> Iterator[object]:
    return (site.quantizer for _, site in named_sites(model) if site.is_weight)


def one_step(model: GNN, method: Binary, self_loops: bool, sparse: bool = False) -> Tensor:
    """A step of training, in which every weight must move, and an evaluation."""
    where, x = graph(self_loops), features()
    x = torch.where(x > 0.8, x, 0.0) if sparse else x
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    method.before_epoch(model, 1, method.stages(TrainConfig(epochs=10))[0])
    model.train()
    for _ in range(2):
        loss = model(SparseRows.of(x) if sparse else x, where).square().mean()
        added = method.penalty(model)
        (loss if added is None else loss + added).backward()
        optimizer.step()
    assert bool(loss.isfinite())
    still = [name for name, value in model.named_parameters() if torch.equal(value, before[name])]
    assert [name for name in still if not re.search(r"bias|eps|further", name)] == []
    logits: Tensor = model.eval()(x, where)
    assert bool(logits.isfinite().all())
    return logits


PER_EDGE = {"gcn": "[**.edge_weight]", "gat": "[**.logit]", "gatv2": "[**.logit]"}
"""Sites of single numbers, which have no rows that could have a scale."""


@pytest.mark.parametrize("plan", ["products", "paper"])
@pytest.mark.parametrize("name", ["gcn", "gat", "gatv2", "gin", "sage"])
def test_a_step_of_every_architecture(name: str, plan: str) -> None:
    exact = (f"plan.fp32={PER_EDGE[name]}",) if plan == "paper" and name in PER_EDGE else ()
    model, method = made(f"model={name}", f"plan={plan}", *exact)
    one_step(model, method, self_loops=name in PER_EDGE, sparse=plan == "products")


@pytest.mark.parametrize(
    "words",
    [
        ("method.estimator=reste",),
        ("method.estimator=biper",),
        ("method.estimator=ste", "method.weight_centring=standardised"),
        ("method.learned_scale=true",),
        ("method.centring.kind=row", "method.centring.sites=[**.input]"),
        ("method.unscaled_input_gradient=true",),
        ("quant=w1a4", "method.salient.share=0.2", "method.salient.by=hessian"),
        ("quant=w1a4", "quant.weight_bits=2", "method.weight_form=two_binaries", "method.learned_scale=true"),
        ("quant=ternary",),
        ("method.early.bases=2", "method.early.epochs=3", "method.early.penalty=0.1", "method.learned_scale=true"),
        ("method.teacher.tanh_epochs=2", "method.teacher.activation_epochs=2"),
        ("quant=w1a32",),
    ],
)
def test_a_step_of_every_form(words: tuple[str, ...]) -> None:
    one_step(*made("model=gcn", *words), self_loops=True)


def test_what_stands_at_each_point() -> None:
    model, _ = made("model=gin", "method.centring.kind=batch_norm", "method.centring.sites=[**.mlp.0.input]")
    sites = {name: site.quantizer for name, site in named_sites(model) if site.quantizer is not None}
    first, inner = sites["layers.0.mlp.0.input"], sites["layers.0.mlp.1.input"]
    assert isinstance(first.rounding, SignRounding) and first.centring is not None
    assert isinstance(inner.rounding, BoolRounding) and inner.centring is None  # it follows a ReLU
    assert sites["layers.0.mlp.0.weight"].scales.shape == (8, 1)
    assert "layers.0.input" not in sites and "layers.0.message" not in sites  # sums run in FP32


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("quant=w1a8",), SignRounding),
        (("quant.weight_bits=2",), Bases),
        (("quant.weight_bits=2", "method.weight_form=ternary"), TernaryRounding),
        (("quant.weight_bits=2", "method.weight_form=two_binaries"), TwoBinaries),
        (("method.salient.share=0.1",), Salient),
        (("method.early.bases=3", "method.early.epochs=2"), Bases),
    ],
)
def test_forms_of_weights(words: tuple[str, ...], kind: type) -> None:
    model, _ = made("model=gcn", *words)
    assert all(isinstance(q, kind) or isinstance(q.rounding, kind) for q in weights(model))


def test_weights_in_the_uniform_form_are_those_of_training_with_quantisation() -> None:
    model, _ = made("model=gcn", "quant.weight_bits=4", "method.weight_form=uniform")
    assert all(isinstance(q.scales, RangeObserver) for q in weights(model))


def test_estimators_and_their_schedule() -> None:
    model, method = made("model=gcn", "method.estimator=reste", "method.slope.epochs=4")
    slopes = [module for module in model.modules() if isinstance(module, Reste)]
    method.before_epoch(model, 3, method.stages(TrainConfig(epochs=10))[-1])
    assert len(slopes) == 4 and {slope.exponent for slope in slopes} == {2.0}
    model, _ = made("model=gcn", "method.estimator=biper")
    kinds = {
        site.is_weight: type(site.quantizer.rounding.estimator) for _, site in named_sites(model) if site.quantizer
    }
    assert kinds == {True: Biper, False: Clipped}


def test_stages_and_what_the_quantisers_do_in_them() -> None:
    words = ("method.teacher.tanh_epochs=2", "method.teacher.activation_epochs=3", "method.early.bases=2")
    model, method = made("model=gcn", *words, "method.early.epochs=1")
    stages = method.stages(TrainConfig(epochs=10))
    assert [(stage.name, stage.epochs, stage.kept) for stage in stages] == [
        ("tanh", 2, False),
        ("activations", 3, False),
        ("early bases", 1, False),
        ("binary", 4, True),
    ]
    where, x = graph(True), features()
    outputs = []
    for stage in stages:
        method.before_epoch(model, 1, stage)
        outputs.append(model.eval()(x, where))
        bypassed = {q.phase is Phase.BYPASS for q in weights(model)}
        assert bypassed == {stage.name in ("tanh", "activations")}
    assert all(not torch.equal(one, other) for one, other in pairwise(outputs))


def test_the_released_gradient_of_inputs_has_no_scale_and_the_same_values() -> None:
    """grad_input = grad_output sign(W), and the weight's own gradient unchanged."""
    gradients, exact = {}, ("model.dropout=0", "plan.fp32=[**.input]")
    for released in (False, True):
        model, _ = made("model=gcn", f"method.unscaled_input_gradient={released}", *exact)
        layer = model.layers[0].train()
        x = features().requires_grad_()
        y = layer(x, graph(True))
        gradients[released] = (y.detach(), *torch.autograd.grad(y.sum(), (x, layer.weight)))
    for place in (0, 2):
        torch.testing.assert_close(gradients[True][place], gradients[False][place])
    scale = layer.weight.abs().mean(0)
    d = graph(True).inverse_sqrt_degree.unsqueeze(1)
    dense = torch.zeros(NODES, NODES)
    csr = graph(True).csr
    dense.index_put_((csr.row, csr.col), torch.ones(csr.num_edges), accumulate=True)
    received = d * (dense.t() @ (d * torch.ones(NODES, 8)))
    torch.testing.assert_close(gradients[True][1], received @ layer.weight.sign().t())
    torch.testing.assert_close(gradients[False][1], (received * scale) @ layer.weight.sign().t())


@pytest.mark.parametrize("rule", ["mean", "balanced"])
def test_coefficients_of_attention_of_one_bit(rule: str) -> None:
    """Each node's edges have two levels; `balanced` ones sum up to 1, `mean` ones are nearest."""
    model, _ = made("model=gat", "plan=attention", f"method.attention={rule}")
    where, site = graph(True), model.layers[0].sites.coefficient
    scores = torch.randn(where.csr.num_edges, 2, generator=torch.Generator().manual_seed(3)).requires_grad_()
    exact = kernels.edge_softmax(where.csr, scores)
    alpha = rounded_coefficients(site, where.csr, exact)
    alpha.square().sum().backward()
    assert scores.grad is not None and bool(scores.grad.any())
    for node in range(NODES):
        into = alpha[where.csr.row == node]
        assert all(head.unique().numel() <= 2 for head in into.t())
        if rule == "balanced":
            torch.testing.assert_close(into.sum(0), torch.ones(into.size(1)))
        else:
            mine = exact[where.csr.row == node]
            kept = mine >= mine.mean(0) * (1 - 1e-6)
            torch.testing.assert_close(into, kept * (mine * kept).sum(0) / kept.sum(0))
    assert (alpha == 0).any() and ((alpha > 0) & (alpha < 1)).any()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("quant.activation_granularity=tensor",),
            "quant.activation_granularity must be row where an activation has 1",
        ),
        (("method.salient.share=1",), r"method\.salient\.share must be in \[0, 1\), got 1.0"),
        (("method.salient.share=0.1", "quant.weight_bits=2"), "quant.weight_bits must be 1 where method.salient.share"),
        (("method.salient.share=0.1", "method.learned_scale=true"), "method.salient.share must be 0 with"),
        (("quant.weight_bits=3", "method.weight_form=ternary"), r"quant\.weight_bits must be 2 \(or 1\)"),
        (("method.teacher.logits=1",), "train.warm_start must be fp32 where method.teacher.logits"),
        (("method.early.bases=2", "method.early.epochs=10"), "must leave some of the 10 epochs, got 10"),
        (("method.estimator=clipped_ends",), "method.estimator must be one of ste, clipped, reste, biper"),
        (("method.centring.kind=row",), "method.centring.sites must name sites for row"),
        (("method.early.penalty=1",), "method.early.penalty must be 0 unless method.learned_scale=true"),
        (("method.centring.kind=batch_norm", "method.centring.sites=[**.features]", "plan=paper"), "name inputs of"),
    ],
)
def test_errors_in_one_line(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        made("model=gcn", *words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("method=noisy",), "quant.bits must be >= 2 for method=noisy"),
        (("method=lsq",), "method.learned_scale must be false at 1 bit"),
        (("method=dq_released",), "method.estimator must be ste or clipped at 1 bit, got 'clipped_ends'"),
    ],
)
def test_methods_that_have_no_one_bit_say_so(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_configs([*GIVEN, "model=gcn", *words])[0].validate()


@pytest.mark.parametrize("method", ["naive", "dq", "ptq"])
def test_other_methods_have_signs_at_one_bit(method: str) -> None:
    config = load_configs(["dataset=cora", "model=gcn", "quant=int1", "plan=products", f"method={method}"])[0]
    model = build_model(config, CHANNELS, 0, CLASSES)
    kinds = {type(site.quantizer.rounding) for _, site in named_sites(model) if site.quantizer}
    assert kinds == {SignRounding, BoolRounding}
    assert model(features(), graph(True)).isfinite().all()


def test_a_teacher_is_the_network_in_fp32_and_leaves_no_trace_in_the_state() -> None:
    words = ("train.warm_start=fp32", "method.teacher.logits=1", "method.teacher.structure=1")
    model, method = made("model=gcn", *words, "model.dropout=0")
    exact, _ = made("model=gcn", "plan.fp32=[**]")
    names = set(model.state_dict())
    method.before_training(model)
    assert set(model.state_dict()) == names
    where, x = graph(True), features()
    batch = Batch(where, x, torch.zeros(NODES, dtype=torch.int64))
    logits = model.train()(x, where)
    loss = method.guidance(batch, logits)
    assert loss is not None and loss.item() > 0 and loss.requires_grad
    told = exact.eval()(x, where)
    kl = (told.softmax(-1) * (told.log_softmax(-1) - logits.log_softmax(-1))).sum(-1).mean()
    method.config = replace(method.config, teacher=replace(method.config.teacher, structure=0.0))
    method.teaching.config = method.config.teacher
    torch.testing.assert_close(method.guidance(batch, logits), kl)
