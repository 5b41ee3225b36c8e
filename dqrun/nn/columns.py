"""Factors of the columns of an operand, and their reciprocals for the columns of the weight that multiplies it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from dqrun import kernels
from dqrun.errors import ConfigError
from dqrun.graphs import Batch
from dqrun.nn.operands import Product, Products
from dqrun.quant import Phase, Site, named_sites
from dqrun.quant.column_quantizer import ColumnQuantizer
from dqrun.quant.plan import set_phase


def products(model: nn.Module) -> list[Product]:
    """The products with weights in a network; raises ConfigError for one that does not list its operations."""
    lower = getattr(model, "lower", None)
    if lower is None:
        raise ConfigError(
            "model must be one of dqrun's layers for this method: other networks do not list their products"
        )
    found = Products()
    lower(found)
    return found.found


def give_columns(model: nn.Module) -> None:
    """Adds factors, all 1, to both sides of each product whose operand and weight are quantised."""
    sites = dict(named_sites(model))
    for product in products(model):
        names = [name for name in product.operand if name in sites and sites[name].quantizer is not None]
        if names and sites[product.weight].quantizer is not None:
            for name in (*names, product.weight):
                _give(sites[name], product.channels)


def _give(site: Site, channels: int) -> None:
    """Wraps the quantiser of a site in a `ColumnQuantizer`; only once, as a tensor may enter several products."""
    if site.quantizer is not None and not isinstance(site.quantizer, ColumnQuantizer):
        transposed = site.is_weight and site.channels == (1,)
        site.quantizer = ColumnQuantizer(site.quantizer, (channels, 1) if transposed else (channels,))


@torch.no_grad()
def fit_columns(model: nn.Module, batches: Iterable[Batch], absorption: float) -> None:
    """Sets the factor of each column of an operand to m^-absorption, and that of its weight's column to m^absorption.

    m: the largest absolute value of the column over all batches in FP32, divided by the geometric mean of this value
    over the tensor's columns; 1 for a column of zeros. Leaves the quantisers in `Phase.BYPASS`.
    """
    sites = dict(named_sites(model))
    seen: dict[str, Tensor] = {}

    def watch(name: str) -> Any:
        def see(site: nn.Module, args: tuple[Any, ...]) -> None:
            sizes = kernels.column_sizes(args[0])
            seen[name] = torch.maximum(seen[name], sizes) if name in seen else sizes

        return sites[name].register_forward_pre_hook(see)

    pairs = [
        (name, product.weight)
        for product in products(model)
        for name in product.operand
        if name in sites and isinstance(sites[name].quantizer, ColumnQuantizer)
    ]
    handles = [watch(name) for name in dict.fromkeys(name for name, _ in pairs)]
    model.eval()
    set_phase(model, Phase.BYPASS)
    for batch in batches:
        model(batch.x, batch.graph)
    for handle in handles:
        handle.remove()
    for name, weight in pairs:
        factor = _relative(seen[name]).pow(absorption)
        for site, value in ((sites[name], factor.reciprocal()), (sites[weight], factor)):
            assert isinstance(site.quantizer, ColumnQuantizer)
            site.quantizer.factor.copy_(value.view_as(site.quantizer.factor))


def _relative(sizes: Tensor) -> Tensor:
    """Sizes [C] >= 0 divided by the geometric mean of those above 0; 1 for zeros."""
    some = sizes > 0
    logarithm = sizes.where(some, 1.0).log()
    mean = logarithm.sum() / some.sum().clamp(min=1)
    return (logarithm - mean).exp().where(some, 1.0)
