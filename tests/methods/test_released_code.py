"""`method=dq_released plan=released` against the released Degree-Quant code's rules, written a second time.

The classes of the first half follow the rules of github.com/camlsys/degree-quant (`dq/quantization.py`,
`dq/multi_quant.py`, `reddit_binary/gin.py`) in plain torch; they use nothing of dqrun. Values that lie half-way between
two codes may go either way in float32, so each quantiser checks that it meets none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count, islice

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dqrun import kernels
from dqrun.composition.compose import load_configs
from dqrun.config import RunConfig
from dqrun.data.packed import PackedGraphs
from dqrun.graphs import Batch, Graph
from dqrun.methods import Method, make_method
from dqrun.methods.dq import DegreeQuant
from dqrun.nn.build import build_layer, build_model
from dqrun.quant import QuantPlan
from dqrun.training.course import Course
from dqrun.training.loop import train_step
from dqrun.training.seeding import Streams
from dqrun.training.state import Training
from dqrun.training.tasks import Task


class Quantiser:
    """Percentile range that only widens, affine grid, gradient cut at and beyond the end codes."""

    def __init__(self, bits: int, percentile: float, signed: bool = True) -> None:
        self.percentile, self.low, self.high = percentile, None, None
        self.lowest = -(2 ** (bits - 1)) if signed else 0
        self.highest = self.lowest + 2**bits - 1

    def observe(self, x: Tensor) -> None:
        ordered, n = sorted(x.detach().flatten().tolist()), x.numel()
        low = ordered[min(n, max(1, int(n * self.percentile))) - 1]
        high = ordered[min(n, max(1, int(n * (1 - self.percentile)))) - 1]
        self.low = low if self.low is None else min(self.low, low)
        self.high = high if self.high is None else max(self.high, high)

    def __call__(self, x: Tensor, training: bool) -> Tensor:
        if training:
            self.observe(x)
        low, high = min(self.low, 0.0), max(self.high, 0.0)
        scale, zero = 1.0, 0
        if low != high:
            scale = max((high - low) / (self.highest - self.lowest), torch.finfo(torch.float32).eps)
            zero = min(max(self.lowest - round(low / scale), self.lowest), self.highest)
        place = x.detach() * (1 / scale) + zero
        inner = place[(place > self.lowest - 1) & (place < self.highest + 1)]
        clear = bool(((inner - inner.floor() - 0.5).abs() > 2e-5).all())
        assert clear, "two roundings are possible: choose another seed"
        code = place.round()
        rounded = (code.clamp(self.lowest, self.highest) - zero) * scale
        through = torch.where((code > self.lowest) & (code < self.highest), x, x.detach())
        return rounded + (through - through.detach())


class Released(nn.Module):
    """What its layers share: `low(name, x, mask)` rounds the rows that are not masked; in evaluation all."""

    def __init__(self, bits: int, percentile: float) -> None:
        super().__init__()
        self.make = lambda signed=True: Quantiser(bits, percentile, signed)
        self.quantisers: dict[str, Quantiser] = {}

    def low(self, name: str, x: Tensor, mask: Tensor | None = None, signed: bool = True) -> Tensor:
        quantiser = self.quantisers.setdefault(name, self.make(signed))
        if mask is None or not self.training:
            return quantiser(x, self.training)
        rows = (~mask).nonzero().squeeze(1)
        return x.index_put((rows,), quantiser(x[rows], True))

    def propagate(self, messages: Tensor, edges: Tensor, mask: Tensor, update: Callable[[Tensor], Tensor]) -> Tensor:
        messages = self.low("message", messages, mask[edges[0]])
        sums = messages.new_zeros(mask.numel(), *messages.shape[1:]).index_add(0, edges[1], messages)
        return self.low("update", update(self.low("aggregate", sums, mask)), mask)


class ReleasedGCN(Released):
    """Edges have one self-loop per node; the norm is d_source^-1/2 d_target^-1/2 of undirected degrees."""

    def __init__(self, layer: nn.Module, bits: int, percentile: float) -> None:
        super().__init__(bits, percentile)
        self.weight, self.bias = (nn.Parameter(getattr(layer, name).detach().clone()) for name in ("weight", "bias"))

    def forward(self, x: Tensor, edges: Tensor, mask: Tensor) -> Tensor:
        h = self.low("features", self.low("inputs", x, mask) @ self.low("weights", self.weight), mask)
        inverse = torch.bincount(edges[0], minlength=mask.numel()).float() ** -0.5
        norm = self.low("norm", inverse[edges[0]] * inverse[edges[1]])
        return self.propagate(norm[:, None] * h[edges[0]], edges, mask, lambda sums: sums + self.bias)


class ReleasedGAT(Released):
    """Two concatenated heads; the attention vector holds the target's half first, here in two parameters."""

    def __init__(self, layer: nn.Module, bits: int, percentile: float) -> None:
        super().__init__(bits, percentile)
        for name in ("weight", "attention", "bias"):
            self.register_parameter(name, nn.Parameter(getattr(layer, name).detach().clone()))

    def forward(self, x: Tensor, edges: Tensor, mask: Tensor) -> Tensor:
        source, target = edges
        h = self.low("features", self.low("inputs", x, mask) @ self.low("weights", self.weight), mask)
        h = h.view(mask.numel(), *self.attention.shape[1:])
        attention = self.low("attention", self.attention)
        alpha = (torch.cat([h[target], h[source]], -1) * torch.cat([attention[1], attention[0]], -1)).sum(-1)
        powers = F.leaky_relu(self.low("alpha", alpha, mask[source]), 0.2).exp()
        alpha = powers / torch.zeros(mask.numel(), 2).index_add(0, target, powers)[target]
        return self.propagate(h[source] * alpha[..., None], edges, mask, lambda sums: sums.flatten(1) + self.bias)


class ReleasedGIN(Released):
    """The MLP knows of no mask. `exact_first`: its first linear layer is FP32; `norm`: it ends with a batch norm."""

    def __init__(self, layer: nn.Module, bits: int, percentile: float, exact_first: bool = False) -> None:
        super().__init__(bits, percentile)
        self.eps = nn.Parameter(layer.eps.detach().clone())
        self.linears = nn.ModuleList(copy_of(linear) for linear in list(layer.mlp)[:2])
        self.norm = nn.BatchNorm1d(self.linears[1].out_features) if len(layer.mlp) > 2 else None
        self.exact_first = exact_first

    def linear(self, i: int, x: Tensor) -> Tensor:
        if i == 0 and self.exact_first:
            return self.linears[0](x)
        x, linear = self.low(f"inputs {i}", x, signed=i == 0), self.linears[i]
        return self.low(f"features {i}", F.linear(x, self.low(f"weights {i}", linear.weight), linear.bias))

    def mlp(self, x: Tensor) -> Tensor:
        x = self.linear(1, self.linear(0, x).relu())
        return x if self.norm is None else self.norm(x.relu())

    def forward(self, x: Tensor, edges: Tensor, mask: Tensor) -> Tensor:
        return self.propagate(x[edges[0]], edges, mask, lambda sums: self.mlp((1 + self.eps) * x + sums))


class ReleasedNetwork(nn.Module):
    """Five GIN layers, mean of the nodes, two linear layers of the same kind as the MLPs'."""

    def __init__(self, model: nn.Module, bits: int, percentile: float) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            ReleasedGIN(layer, bits, percentile, exact_first=i == 0) for i, layer in enumerate(model.layers)
        )
        self.head = Released(bits, percentile)
        self.lin1, self.lin2 = map(copy_of, model.head)

    def forward(self, x: Tensor, edges: Tensor, mask: Tensor, batch: Tensor) -> Tensor:
        for conv in self.convs:
            x = conv(x, edges, mask)
        x = torch.stack([x[batch == graph].mean(0) for graph in range(int(batch.max()) + 1)])
        x = F.linear(self.head.low("1 in", x), self.head.low("1 w", self.lin1.weight), self.lin1.bias)
        x = F.dropout(self.head.low("1 out", x).relu(), 0.5, self.training)
        x = F.linear(self.head.low("2 in", x, signed=False), self.head.low("2 w", self.lin2.weight), self.lin2.bias)
        return F.log_softmax(self.head.low("2 out", x), -1)


def copy_of(linear: nn.Module) -> nn.Linear:
    copy = nn.Linear(linear.weight.size(1), linear.weight.size(0))
    copy.load_state_dict({"weight": linear.weight, "bias": linear.bias})
    return copy


LAYERS = {"gcn": ReleasedGCN, "gat": ReleasedGAT, "gin": ReleasedGIN}
SITES = {"input": "inputs", "weight": "weights", "edge_weight": "norm", "logit": "alpha", "output": "update"}
NUM_NODES = 24
VERSIONS = ["reference", "cpu"]
WIDTHS = {4: 0.01, 8: 0.001}


def random_edges(seed: int, self_loops: bool, num_edges: int = 80) -> Tensor:
    """Undirected edges without repeats, within each half of the nodes."""
    generator = torch.Generator().manual_seed(seed)
    half, ends = NUM_NODES // 2, torch.randint(NUM_NODES // 2, (2, num_edges), generator=generator)
    ends = ends[:, ends[0] != ends[1]]
    ends = ends + torch.randint(2, (ends.size(1),), generator=generator) * half
    edges = torch.unique(torch.cat([ends, ends.flip(0)], 1), dim=1)
    loops = torch.arange(NUM_NODES).expand(2, -1)
    return torch.cat([edges, loops], 1) if self_loops else edges


def graph_of(edges: Tensor) -> Graph:
    half = NUM_NODES // 2
    first = edges[:, edges[0] < half], edges[:, edges[0] >= half] - half
    counts = torch.tensor([part.size(1) for part in first])
    packed = PackedGraphs.from_edges(torch.cat(first, 1), torch.tensor([half, half]), counts)
    return packed.gather(torch.arange(2))[0]


def configuration(*words: str) -> RunConfig:
    return load_configs(["method=dq_released", "plan=released", "dataset=zinc", *words])[0]


def masks(seed: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(NUM_NODES, generator=generator) < 0.5 for _ in count())


def require_equal_ranges(ours: nn.Module, theirs: Released, prefix: str = "") -> None:
    """The same quantisers have seen the same: none is missing here, none is more."""
    seen = {}
    for path, module in ours.named_modules():
        if path.endswith("quantizer") and path.startswith(prefix):
            *_, part, index, site = ("", "", *path.removesuffix(".quantizer").replace("sites.", "").split("."))
            name = SITES.get(site, site)
            if part == "mlp":
                name = {"output": "features"}.get(site, name) + f" {index}"
            seen[name] = (module.scales.low.item(), module.scales.high.item())
    assert seen.keys() == theirs.quantisers.keys()
    for name, quantiser in theirs.quantisers.items():
        assert seen[name] == pytest.approx((quantiser.low, quantiser.high), rel=1e-4, abs=1e-6), name


def gradients(module: nn.Module) -> dict[tuple[int, ...], list[Tensor]]:
    """By shape, in the module's order: both have the same parameters under other names."""
    found: dict[tuple[int, ...], list[Tensor]] = {}
    for parameter in module.parameters():
        assert parameter.grad is not None
        found.setdefault(tuple(parameter.shape), []).append(parameter.grad)
    return found


def require_equal_gradients(ours: nn.Module, theirs: nn.Module) -> None:
    mine, others = gradients(ours), gradients(theirs)
    assert mine.keys() == others.keys()
    for shape, tensors in mine.items():
        torch.testing.assert_close(tensors, others[shape], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("name", "options", "bits", "seed"),
    [
        ("gcn", [], 4, 7),
        ("gcn", [], 8, 25),
        ("gat", ["model.heads=2"], 4, 0),
        ("gat", ["model.heads=2"], 8, 0),
        ("gin", ["model.mlp_norm=false"], 4, 4),
        ("gin", ["model.mlp_norm=true"], 4, 4),
        ("gin", ["model.mlp_norm=true"], 8, 5),
    ],
)
def test_a_layer_trains_as_the_released_one(name: str, options: list[str], bits: int, seed: int, version: str) -> None:
    config = configuration(f"model={name}", f"quant.bits={bits}", "model.hidden=6", *options)
    torch.manual_seed(seed)
    layers = nn.ModuleDict({"layers": nn.ModuleList([build_layer(config.model, 5, 6, 0, last=False)])})
    QuantPlan(config.quant, config.plan).apply(layers, make_method(config))
    ours = layers["layers"][0]
    theirs = LAYERS[name](ours, bits, WIDTHS[bits])
    graph = graph_of(edges := random_edges(seed, self_loops=name != "gin"))
    optimizers = [torch.optim.Adam(module.parameters(), lr=0.01) for module in (ours, theirs)]
    with kernels.use(version):
        for mask in islice(masks(seed), 3):
            x, wanted = torch.randn(NUM_NODES, 5), torch.randn(NUM_NODES, 6)
            outputs = [ours(x, graph.with_protection_masks(mask[None])), theirs(x, edges, mask)]
            torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-5)
            for optimizer, output in zip(optimizers, outputs, strict=True):
                optimizer.zero_grad()
                (output - wanted).square().mean().backward()
            require_equal_gradients(ours, theirs)
            for optimizer in optimizers:
                optimizer.step()
            require_equal_ranges(ours, theirs)
        torch.testing.assert_close(ours.eval()(x, graph), theirs.eval()(x, edges, mask), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("width", "seed"), [("int4", 93), ("int8", 2)])
def test_the_experiments_network_trains_as_the_released_one(width: str, seed: int, version: str) -> None:
    config = load_configs([f"experiment=reddit_released_{width}_dq", "model.hidden=8"])[0]
    torch.manual_seed(seed)
    ours = build_model(config, in_channels=1, num_categories=0, out_channels=2)
    bits = {"int4": 4, "int8": 8}[width]
    theirs = ReleasedNetwork(ours, bits, WIDTHS[bits])
    graph = graph_of(edges := random_edges(seed, self_loops=False))
    learning_rate, decay = {"int4": (1e-3, 4e-5), "int8": (5e-3, 2e-4)}[width]
    unmasked = Method(config.method)  # the test gives the masks
    mine = Training.begin(ours, unmasked, Course.of(unmasked, config.train), Streams.of_seed(0))
    other = torch.optim.Adam(theirs.parameters(), lr=learning_rate, weight_decay=decay)
    with kernels.use(version):
        for step, mask in enumerate(islice(masks(seed), 2)):
            x, y = torch.randn(NUM_NODES, 1), torch.tensor([step % 2, 1])
            torch.manual_seed(step)  # the head's dropout
            batch = Batch(graph.with_protection_masks(mask[None]), x, y)
            loss, _ = train_step(mine, batch, Task("graph_classification"))
            torch.manual_seed(step)
            expected = F.nll_loss(theirs(x, edges, mask, graph.batch), y)
            torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
            other.zero_grad()
            expected.backward()
            require_equal_gradients(ours, theirs)
            other.step()
        for i, conv in enumerate(theirs.convs):
            require_equal_ranges(ours, conv, f"layers.{i}.")
        logits = ours.eval()(x, graph).log_softmax(-1)
        torch.testing.assert_close(logits, theirs.eval()(x, edges, mask, graph.batch), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("width", "low", "high"), [("int4", 0.1, 0.2), ("int8", 0.0, 0.1)])
def test_the_experiments_masks_have_the_released_probabilities(width: str, low: float, high: float) -> None:
    """Summed over degrees: each share of a graph's nodes adds its part of the way from the lowest to the highest."""
    method = make_method(load_configs([f"experiment=reddit_released_{width}_dq"])[0])
    assert isinstance(method, DegreeQuant) and method.config.protection.draws and method.num_masks == 1
    graph = graph_of(edges := random_edges(0, self_loops=False, num_edges=30))
    expected = []
    for first in (0, NUM_NODES // 2):
        degree = torch.bincount(edges[1], minlength=NUM_NODES)[first : first + NUM_NODES // 2]
        expected.append((torch.bincount(degree) * (high - low) / degree.numel()).cumsum(0)[degree] + low)
    torch.testing.assert_close(method.probability(graph.degree_rank), torch.cat(expected))


@pytest.mark.parametrize("width", ["int4", "int8"])
def test_the_experiments_schedule_and_features_are_the_released_ones(width: str) -> None:
    config = load_configs([f"experiment=reddit_released_{width}_dq"])[0]
    train, model, schedule = config.train, config.model, config.train.schedule
    assert (train.epochs, train.batch_size, train.select, train.bn_reestimation) == (200, 128, "val_loss", 0)
    assert (schedule.name, schedule.factor, schedule.every) == ("step", 0.5, 50)
    assert (model.layers, model.hidden, model.head_dropout, model.readout) == (5, 64, 0.5, "mean")
    assert (config.dataset.features, config.dataset.degree_statistics) == ("degree", "all")
    assert config.method.collapsed_range == "unit"  # scale 1 where a percentile range is a single zero
