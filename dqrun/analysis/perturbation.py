"""Perturbations of a trained network: wrong edges, wrong features, and flipped bits of its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dqrun.errors import ConfigError
from dqrun.graphs import CSR, Batch, dense
from dqrun.nn import GNN
from dqrun.quant import Quantizer, Site, named_sites
from dqrun.quant.rounding import Flip

Perturb = Callable[[Batch, float, torch.Generator], Batch]


def perturb_edges(batch: Batch, rate: float, generator: torch.Generator) -> Batch:
    """A share `rate` of the edges, rounded down, gets another source: a random node of the same graph (uniform).

    Targets, and therefore in-degrees, self-loops and edge data do not change.
    """
    graph, csr = batch.graph, batch.graph.csr
    moving = (csr.col != csr.row).nonzero().squeeze(1)
    order = torch.randperm(moving.numel(), generator=generator)
    chosen = moving[order[: int(rate * moving.numel())]]
    of_graph = graph.batch[csr.row[chosen]].long()
    first, size = graph.node_ptr[of_graph], graph.node_ptr.diff()[of_graph]
    drawn = torch.rand(chosen.numel(), generator=generator, dtype=torch.float64)
    source = csr.col.clone()
    source[chosen] = first + (drawn * size).long()
    moved = CSR.from_edge_index(torch.stack([source, csr.row]), graph.num_nodes)  # targets ascend: the order stays
    return replace(batch, graph=replace(graph, csr=moved))


def perturb_features(batch: Batch, rate: float, generator: torch.Generator) -> Batch:
    """Replaces each number of the features, with probability `rate`, by that of another node in the same channel.

    So the distribution of each channel is kept; a bag of words loses words and gets others. Categories are replaced in
    the same way.
    """
    x = dense(batch.x)
    others = torch.randint(x.size(0), x.shape, generator=generator)
    drawn = torch.rand(x.shape, generator=generator) < rate
    return replace(batch, x=torch.where(drawn, x.gather(0, others), x))


PERTURBATIONS: dict[str, Perturb] = {"edges": perturb_edges, "features": perturb_features}


@dataclass(frozen=True)
class WeightBits:
    """The bits of the codes of a network's quantised weights. Raises ConfigError for a network that has none, or that
    has a weight whose rounding has no codes."""

    sites: tuple[tuple[Site, Tensor], ...]
    total: int

    @classmethod
    def of(cls, model: GNN) -> WeightBits:
        """Counts them."""
        sites = tuple(_quantised_weights(model))
        if not sites:
            raise ConfigError("it has no quantised weights whose bits could be flipped: leave --flips out")
        counted: list[int] = []

        def count(codes: Tensor, bits: int) -> Tensor:
            counted.append(codes.numel() * bits)
            return codes

        for site, weight in sites:
            _flipped(site, weight, count)
        return cls(sites, sum(counted))

    def number(self, amount: float) -> int:
        """The number of bits for an amount: below 1 a share of all bits, else the number itself.

        Raises ConfigError for more than there are.
        """
        number = round(amount * self.total) if amount < 1 else int(amount)
        if number > self.total:
            raise ConfigError.rule("--flips", f"be at most the {self.total} bits of the weights", number)
        return number

    @contextmanager
    def flipped(self, number: int, generator: torch.Generator) -> Iterator[None]:
        """Inside the block `number` distinct bits, drawn uniformly from all, are flipped; afterwards restored."""
        chosen = torch.randperm(self.total, generator=generator)[:number].sort().values
        passed = 0

        def flip(codes: Tensor, bits: int) -> Tensor:
            nonlocal passed
            first, passed = passed, passed + codes.numel() * bits
            own = chosen[(chosen >= first) & (chosen < passed)] - first
            changed = codes.flatten().clone()
            for bit in range(bits):
                changed[own[own % bits == bit] // bits] ^= 1 << bit
            return changed.view_as(codes)

        hooks = []
        for site, weight in self.sites:
            value = _flipped(site, weight, flip)
            hooks.append(site.register_forward_hook(lambda module, given, output, value=value: value))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def _flipped(site: Site, weight: Tensor, flip: Flip) -> Tensor:
    """A weight rounded by its site, after `flip` has changed bits of its codes."""
    groups = site.groups
    if groups is None:
        return _quantizer(site).flipped(weight, flip)

    def split(codes: Tensor, bits: int) -> Tensor:
        return groups.split(flip(groups.join(codes), bits))

    return groups.join(_quantizer(site).flipped(groups.split(weight), split))


def _quantizer(site: Site) -> Quantizer:
    assert site.quantizer is not None
    return site.quantizer


def _quantised_weights(model: GNN) -> Iterator[tuple[Site, Tensor]]:
    modules = dict(model.named_modules())
    for name, site in named_sites(model):
        if site.is_weight and site.quantizer is not None:
            owner, _, parameter = name.rpartition(".")
            yield site, getattr(modules[owner], parameter).detach()
