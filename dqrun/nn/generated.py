"""Synthetic graphs from a trained network alone, for calibration without data.

Features are fitted so that the network predicts randomly drawn labels, and so that the inputs of each batch norm have
its stored statistics, as in ZeroQ (Cai et al., CVPR 2020) for images and GFKD (Deng & Zhang, IJCAI 2021) for graphs.
Edges are random: degrees follow a power law, and most edges connect nodes of equal label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from dqrun.errors import ConfigError
from dqrun.graphs import CSR, Batch, Graph
from dqrun.quant import Phase
from dqrun.quant.plan import set_phase

SEED = 0
SAME_LABEL = 0.8
"""Share of the edges of a node task that connect nodes of one label."""
RATE = 0.1
SPREAD = 4.0
"""Standard deviation of the logarithms of features that sum to 1: few of a row are large, as in a bag of words."""


class Made(Protocol):
    """`method.generated.*`."""

    features: str
    nodes: int
    graphs: int
    degree: float
    steps: int


@dataclass(frozen=True)
class Sizes:
    """Inputs and outputs of a network: width of float features or number of categories, number of outputs.

    `graph_level`: one output row for each graph, else for each node. `classes`: whether outputs are logits of classes.
    """

    in_channels: int
    num_categories: int
    out_channels: int
    graph_level: bool
    classes: bool


def generated_batch(model: nn.Module, sizes: Sizes, made: Made) -> Batch:
    """The graphs, with features fitted to `model` in FP32. Parameters and buffers of `model` do not change; its
    quantisers are left in `Phase.BYPASS`."""
    generator = torch.Generator().manual_seed(SEED)
    num_graphs = made.graphs if sizes.graph_level else 1
    batch = torch.arange(made.nodes) * num_graphs // made.nodes
    labels = torch.randint(
        max(1, sizes.out_channels), (num_graphs if sizes.graph_level else made.nodes,), generator=generator
    )
    groups = batch if sizes.graph_level else labels
    graph = _graph(batch, num_graphs, _edges(batch, groups, made.degree, generator), bool(model.uses_self_loops))
    if sizes.num_categories:
        return Batch(graph, torch.randint(sizes.num_categories, (made.nodes,), generator=generator), labels)
    start = torch.randn(made.nodes, sizes.in_channels, generator=generator)
    device = next(model.parameters()).device
    fitted = _fitted(model, Batch(graph, start, labels), made, sizes.classes) if device.type == "cpu" else start
    return Batch(graph, fitted, labels)


def _edges(batch: Tensor, groups: Tensor, degree: float, generator: torch.Generator) -> Tensor:
    """int64 [2, E] in both directions: most stay within a group, and the first nodes of a group have most of them."""
    count = int(batch.numel() * degree / 2)
    order = torch.argsort(groups, stable=True)
    sizes = torch.bincount(groups)
    first = sizes.cumsum(0) - sizes
    target = torch.randint(batch.numel(), (count,), generator=generator)
    place = torch.rand(count, generator=generator).square()
    group = groups[target]
    near = order[first[group] + (place * sizes[group]).long()]
    anywhere = (place * batch.numel()).long()
    one_graph = bool((batch == 0).all())
    strays = one_graph & (torch.rand(count, generator=generator) > SAME_LABEL)
    source = torch.where(strays, anywhere, near)
    kept = source != target
    edges = torch.stack([source[kept], target[kept]])
    return torch.cat([edges, edges.flip(0)], 1)


def _graph(batch: Tensor, num_graphs: int, edges: Tensor, self_loops: bool) -> Graph:
    num_nodes = batch.numel()
    if self_loops:
        edges = torch.cat([edges, torch.arange(num_nodes).expand(2, -1)], 1)
    ptr = torch.searchsorted(batch, torch.arange(num_graphs + 1))
    return Graph(CSR.from_edge_index(edges, num_nodes), ptr, batch, torch.ones(num_nodes))


def _fitted(model: nn.Module, batch: Batch, made: Made, classes: bool) -> Tensor:
    """Features after `made.steps` steps of Adam, float32 [N, F]."""
    assert isinstance(batch.x, Tensor)
    model.eval()
    set_phase(model, Phase.BYPASS)
    free = (batch.x * (SPREAD if made.features == "simplex" else 1.0)).requires_grad_()
    optimizer = torch.optim.Adam([free], lr=RATE)
    norms = [_Statistics(module) for module in model.modules() if isinstance(module, nn.BatchNorm1d)]
    with torch.enable_grad():
        for _ in range(made.steps):
            x = _features(free, made.features)
            logits = model(x, batch.graph)
            terms = [norm.error() for norm in norms]
            terms += [nn.functional.cross_entropy(logits, batch.y)] if classes else []
            terms += [_moments(x)] if made.features == "normal" else []
            if not terms:
                break
            (free.grad,) = torch.autograd.grad(torch.stack(terms).sum(), [free])
            optimizer.step()
    for norm in norms:
        norm.end()
    return _features(free.detach(), made.features)


def _features(free: Tensor, kind: str) -> Tensor:
    return free.softmax(1) if kind == "simplex" else free


def _moments(x: Tensor) -> Tensor:
    """The distance of the features' mean and variance from 0 and 1."""
    variance, mean = torch.var_mean(x)
    return mean.square() + (variance - 1).square()


class _Statistics:
    """Compares the input of a batch norm with its stored statistics."""

    def __init__(self, norm: nn.BatchNorm1d) -> None:
        self.norm, self.given = norm, torch.empty(0)
        self._handle = norm.register_forward_pre_hook(self._take)

    def _take(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        self.given = args[0]

    def error(self) -> Tensor:
        """Mean over channels of the squared distances of means, in variances, and of the logarithms of variances."""
        variance, mean = torch.var_mean(self.given, 0, correction=0)
        kept_mean, kept = self.norm.running_mean, self.norm.running_var
        if kept_mean is None or kept is None:
            raise ConfigError("method.calibration=generated needs batch norms that keep their statistics")
        eps = self.norm.eps
        ratio = ((variance + eps) / (kept + eps)).log()
        return ((mean - kept_mean).square() / (kept + eps) + ratio.square()).mean()

    def end(self) -> None:
        """Removes the hook."""
        self._handle.remove()
