"""The grids of a trained network, as lowering asks for them by the name of their site."""

from __future__ import annotations

from typing import NoReturn

import torch
from torch import Tensor, nn

from dqrun.errors import ConfigError
from dqrun.kernels.integer import CodeGrid, Weight
from dqrun.quant import Quantizer, named_sites


class TrainedSites:
    """Hands out grids and weight codes, and remembers which sites were asked for."""

    def __init__(self, model: nn.Module) -> None:
        self._sites = dict(named_sites(model))
        self._used: set[str] = set()

    def grid(self, name: str) -> CodeGrid:
        """The grid of an activation site; raises ConfigError where it is exact or has seen nothing."""
        quantizer = self._quantizer(name)
        grid, (scale, zero_point) = quantizer.grid, quantizer.params()
        spare = 1 if grid.signed and grid.symmetric else 0
        return CodeGrid(grid.bits, scale.item(), int(zero_point.item()) - grid.qmin, spare)

    def weight(self, name: str, weight: Tensor) -> tuple[Weight, int, float]:
        """Codes int8 of a weight float32 [M, K] on the grid of its site, the grid's width and its scale.

        Raises ConfigError where the site is exact or its grid not symmetric.
        """
        quantizer = self._quantizer(name)
        if not quantizer.grid.symmetric or not quantizer.grid.signed:
            raise ConfigError(f"{name} must have a symmetric grid in an integer program: train with plan=integer")
        scale, zero_point = quantizer.params()
        codes = quantizer.grid.encode(weight.detach(), scale, zero_point)
        return Weight(codes.to("cpu", torch.int8).contiguous()), quantizer.grid.bits, scale.item()

    def fake_quantized(self, name: str, weight: Tensor) -> Tensor:
        """A weight as the network uses it: rounded to the grid of its site and back, float32."""
        return self._quantizer(name).round(weight.detach()).cpu()

    def require_no_others(self) -> None:
        """Raises ConfigError for a quantised site that an integer program does not round at."""
        for name, site in self._sites.items():
            if not site.is_fp32 and name not in self._used:
                self.refuse(name)

    def refuse(self, name: str) -> NoReturn:
        """Raises ConfigError for a quantised site that has no place in an integer program."""
        raise ConfigError(f"{name} must be exact in an integer program: train with plan=integer")

    def _quantizer(self, name: str) -> Quantizer:
        self._used.add(name)
        quantizer = self._sites[name].quantizer
        if quantizer is None:
            rule = "train with plan=integer and a width for weights and activations, e.g. quant=int8"
            raise ConfigError(f"{name} must be quantised in an integer program, it is exact: {rule}")
        if not quantizer.observer.has_seen:
            raise ConfigError(f"{name} must have observed values before lowering: train or calibrate first")
        return quantizer
