"""The grids of a trained network by the names of their sites, for lowering."""

from __future__ import annotations

from typing import NoReturn

import torch
from torch import Tensor, nn

from dqrun.errors import ConfigError
from dqrun.kernels.integer import CodeGrid, Grid, RowGrid, Weight
from dqrun.quant import LearnedRowFactor, Quantizer, RowRange, named_sites


class TrainedSites:
    """Returns grids and weight codes, and records which sites were read.

    Raises ConfigError for a site whose values are not codes of its spec, trained or not.
    """

    def __init__(self, model: nn.Module) -> None:
        self._sites = dict(named_sites(model))
        self._used: set[str] = set()
        for name, site in self._sites.items():
            quantizer = site.quantizer
            if quantizer is not None and not quantizer.has_codes:
                kind = type(quantizer if quantizer.rounding.codes_of_spec else quantizer.rounding).__name__
                raise ConfigError(f"{name} must be rounded to equidistant values in an integer program, got {kind}")
            if quantizer is not None and quantizer.centring is not None and not site.is_weight:
                raise ConfigError(f"{name} must not be centred in an integer program: method.centring.kind=none")
            if site.groups is not None:
                rule = (
                    "have one scale for each sum of products in an integer program: train with "
                    "quant.weight_granularity=tensor or channel"
                )
                raise ConfigError.rule(name, rule, f"groups of {site.groups.size} inputs")
            if quantizer is not None and quantizer.spec.granularity.per_row:
                row_grid(name, quantizer)

    def grid(self, name: str) -> Grid:
        """The grid of an activation site; raises ConfigError if it is in FP32 or has no range yet."""
        quantizer = self._quantizer(name)
        if quantizer.spec.granularity.per_row:
            return row_grid(name, quantizer)
        spec, (scale, zero_point, _) = quantizer.spec, quantizer.fixed_scales()
        return CodeGrid(spec.bits, scale.item(), int(zero_point.item()) - spec.qmin, spare=int(spec.narrow))

    def weight(self, name: str, weight: Tensor) -> tuple[Weight, int, Tensor]:
        """Codes int8 of a weight float32 [M, K] on the grid of its site, the grid's width and its scales.

        The scales are float64 [1], or [M], one for each output channel. Raises ConfigError if the site is in FP32, its
        grid is not symmetric, or scales are neither per tensor nor per output channel.
        """
        quantizer = self._quantizer(name)
        spec = quantizer.spec
        if not spec.symmetric or not spec.narrow:
            raise ConfigError(f"{name} must have a symmetric grid in an integer program: train with plan=integer")
        as_trained = weight.t() if self._sites[name].channels == (1,) else weight
        codes, scales = quantizer.encode(as_trained.detach())
        codes, scale = codes if as_trained is weight else codes.t(), scales.scale.flatten()
        if scale.numel() not in (1, weight.size(0)):
            rule = f"have one scale, or one for each of {weight.size(0)} outputs, in an integer program"
            raise ConfigError.rule(name, rule, scale.numel())
        return Weight(codes.to("cpu", torch.int8).contiguous()), spec.bits, scale.cpu().double()

    def fake_quantized(self, name: str, weight: Tensor) -> Tensor:
        """A weight as the network uses it: rounded to the grid of its site and back, float32."""
        return self._quantizer(name).round(weight.detach()).cpu()

    def require_no_others(self) -> None:
        """Raises ConfigError if a quantised site was not read: an integer program does not round there."""
        for name, site in self._sites.items():
            if not site.is_fp32 and name not in self._used:
                self.refuse(name)

    def refuse(self, name: str) -> NoReturn:
        """Raises ConfigError: a quantised site `name` has no place in an integer program."""
        raise ConfigError(f"{name} must stay in FP32 in an integer program: train with plan=integer")

    def _quantizer(self, name: str) -> Quantizer:
        self._used.add(name)
        quantizer = self._sites[name].quantizer
        if quantizer is None:
            rule = "train with plan=integer and a width for weights and activations, e.g. quant=int8"
            raise ConfigError(f"{name} must be quantised in an integer program, it is in FP32: {rule}")
        if not quantizer.scales.ready:
            raise ConfigError(f"{name} must have observed values before lowering: train or calibrate first")
        return quantizer


def row_grid(name: str, quantizer: Quantizer) -> RowGrid:
    """The grid of an activation site with a range for each row; raises ConfigError if programs have no such grid."""
    spec, scales = quantizer.spec, quantizer.scales
    if spec.granularity.kind != "row":
        rule = "have one range for a row in an integer program: train with quant.activation_granularity=row or tensor"
        raise ConfigError.rule(name, rule, spec.granularity.kind)
    if spec.collapsed != "zero":
        rule = "have method.collapsed_range=zero in an integer program with ranges of rows"
        raise ConfigError.rule(name, rule, spec.collapsed)
    if type(scales) not in (RowRange, LearnedRowFactor):
        rule = "take the range of a row from the row itself in an integer program"
        raise ConfigError.rule(name, rule, type(scales).__name__)
    share = scales.log_factor.detach().exp().item() if isinstance(scales, LearnedRowFactor) else None
    offset = "symmetric" if spec.symmetric else spec.offset
    return RowGrid(spec.bits, offset, spec.power_of_two, spec.headroom, share, spare=int(spec.narrow))
