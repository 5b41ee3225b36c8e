"""`lower`: from a network trained under `plan=integer` to its integer program."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dqrun.errors import ConfigError
from dqrun.integer.batch_norm import affine
from dqrun.integer.operations import (
    INPUT,
    LOGITS,
    Aggregate,
    Attention,
    DynamicAttention,
    Linear,
    LinearPair,
    Lookup,
    Operation,
    Quantize,
    Readout,
)
from dqrun.integer.program import Program
from dqrun.integer.sites import TrainedSites
from dqrun.kernels.integer import CodeGrid, Epilogue, Grid, quantize
from dqrun.nn import GNN
from dqrun.nn.lowering import Factors, Into, Lowering, Value
from dqrun.quant import named_sites


def lower(model: GNN, origin: dict[str, Any] | None = None) -> Program:
    """The integer program of a trained network; `origin`: plain data that is saved with it.

    Scales are those of training (float32); numbers computed from them are float64. Batch norms become a float32 factor
    and offset per channel (`batch_norm.affine`). Raises ConfigError for a layer without integer form, for a site in
    FP32 where the program stores codes, for a quantised site where it does not, and for a program that breaks the rules
    of `validation`: sums that could overflow int32, parameters that are not finite.
    """
    require_program(model)
    lowering = ProgramLowering(TrainedSites(model.quantised))
    self_loops = model.lower(lowering)
    lowering.sites.require_no_others()
    return Program(tuple(lowering.operations), self_loops, origin or {})


NO_EDGE_ROWS = (
    "an integer program stores values of nodes and graphs, not of edges: layers that read edge features have none"
)


def require_program(model: GNN) -> None:
    """Raises ConfigError if a layer or a quantiser of the network, trained or not, has no integer form."""
    for name, site in named_sites(model.quantised):
        if site.extension is not None:
            raise ConfigError(f"{name} must be what edges sum in an integer program, got a method's addition to it")
    TrainedSites(model.quantised)
    model.lower(Refusals())


class Refusals(Lowering):
    """Raises ConfigError for operations that integer programs do not have: features of edges."""

    def edge_features(self, channels: int, into: Into) -> Value:
        raise ConfigError(NO_EDGE_ROWS)

    def edge_lookup(self, table: Tensor, site: str, into: Into) -> Value:
        raise ConfigError(NO_EDGE_ROWS)


class ProgramLowering(Refusals):
    """Converts each operation that a network records to an integer operation."""

    def __init__(self, sites: TrainedSites) -> None:
        self.sites = sites
        self.operations: list[Operation] = []

    def features(self, channels: int, into: Into) -> Value:
        self.operations.append(Quantize(INPUT, into.target, channels, self.sites.grid(into.target)))
        return super().features(channels, into)

    def lookup(self, table: Tensor, site: str, into: Into) -> Value:
        rounded = self.sites.fake_quantized(self.prefix + site, table)
        self.operations.append(Lookup(INPUT, into.target, quantize(rounded, self.sites.grid(into.target))))
        return super().lookup(table, site, into)

    def linear(self, x: Value, weight: Tensor, site: str, into: Into, *, degree_scale: bool = False) -> Value:
        codes, bits, scale = self.sites.weight(self.prefix + site, weight)
        epilogue = self._epilogue(self._scale(x) * scale, into)
        names = x.site, into.target
        self.operations.append(Linear(*names, codes, bits, epilogue, degree_scale, residual=_residual(into)))
        return super().linear(x, weight, site, into, degree_scale=degree_scale)

    def linear_pair(self, first: Factors, second: Factors, into: Into) -> Value:
        (x, weight, site), (y, second_weight, second_site) = first, second
        codes, bits, scale = self.sites.weight(self.prefix + site, weight)
        second_codes, second_bits, second_scale = self.sites.weight(self.prefix + second_site, second_weight)
        step = self._scale(x) * scale
        made = LinearPair(
            source=x.site,
            second=y.site,
            target=into.target,
            weight=codes,
            weight_bits=bits,
            second_weight=second_codes,
            second_weight_bits=second_bits,
            ratio=self._scale(y) * second_scale / step,
            epilogue=self._epilogue(step, into),
            residual=_residual(into),
        )
        self.operations.append(made)
        return super().linear_pair(first, second, into)

    def aggregate(
        self,
        x: Value,
        into: Into,
        *,
        mean: bool = False,
        self_weight: float | None = None,
        degree_scale: bool = False,
        edge_weight: str = "",
    ) -> Value:
        if edge_weight:
            self.sites.refuse(self.prefix + edge_weight)
        epilogue, names = self._epilogue(self._scale(x), into), (x.site, into.target)
        made = Aggregate(*names, x.channels, self_weight, epilogue, degree_scale, mean, residual=_residual(into))
        self.operations.append(made)
        return super().aggregate(x, into)

    def attention(
        self, x: Value, vectors: Tensor, sites: tuple[str, str], slope: float, concat: bool, into: Into
    ) -> Value:
        epilogue, names = self._epilogue(self._scale(x), into), (x.site, into.target)
        given = vectors.detach().cpu().clone()
        self.operations.append(Attention(*names, given, slope, concat, epilogue, residual=_residual(into)))
        return super().attention(x, vectors, sites, slope, concat, into)

    def dynamic_attention(
        self, ends: tuple[Value, Value], vectors: Tensor, sites: tuple[str, str], slope: float, concat: bool, into: Into
    ) -> Value:
        epilogue, names = self._epilogue(self._scale(ends[0]), into), (ends[0].site, ends[1].site, into.target)
        given = vectors.detach().cpu().clone()
        self.operations.append(DynamicAttention(*names, given, slope, concat, epilogue, residual=_residual(into)))
        return super().dynamic_attention(ends, vectors, sites, slope, concat, into)

    def readout(self, x: Value, mode: str, into: Into) -> Value:
        epilogue = self._epilogue(self._scale(x), into)
        self.operations.append(Readout(x.site, into.target, x.channels, mode, epilogue))
        return super().readout(x, mode, into)

    def _scale(self, x: Value) -> float:
        """The scale of the codes of x; 1 if each row has a scale, which is stored with the codes."""
        grid = self.sites.grid(x.site)
        return grid.scale if isinstance(grid, CodeGrid) else 1.0

    def _epilogue(self, scale: float | Tensor, into: Into) -> Epilogue:
        grid = None if into.target == LOGITS else self.sites.grid(into.target)
        return make_epilogue(scale, into, grid)


def _residual(into: Into) -> str:
    return "" if into.residual is None else into.residual.site


def make_epilogue(scale: float | Tensor, into: Into, grid: Grid | None) -> Epilogue:
    """Operations after integer sums in steps of `scale` (one, or float64 [C]), up to codes of `grid` (None: float32).

    The bias becomes a part of a batch norm's offset, unless a ReLU is between them.
    """
    norms = [norm for norm in (into.inner, into.norm) if norm is not None]
    bias = None if into.bias is None else into.bias.detach().cpu().double()
    gain: Tensor | None = None
    offset: Tensor | None = None
    if norms:
        gain, offset = (value.double() for value in affine(norms, None if into.inner is not None else bias))
    return Epilogue(
        multiplier=torch.as_tensor(scale, dtype=torch.float64).view(-1),
        bias=bias if into.inner is not None or not norms else None,
        pre_relu=into.inner is not None,
        gain=gain,
        offset=offset,
        activation=into.activation,
        grid=grid,
    )
