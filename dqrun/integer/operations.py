"""The operations of an integer program: each names its sources, calls one integer kernel and names its result.

The name of a value is that of its site (`states.1`, `head.0.input`); `x` is the input and `logits` the result.
Operations are plain data: `Program` runs them in order, `storage` writes them, `summary` counts them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from dqrun.errors import ConfigError
from dqrun.graphs import Graph
from dqrun.kernels import integer
from dqrun.kernels.integer import Codes, Epilogue, Grid, Weight

INPUT, LOGITS = "x", "logits"
Value = Codes | Tensor
Values = Mapping[str, Value]


@dataclass(frozen=True)
class Quantize:
    """Float32 features [N, channels] to codes, rounded as in training."""

    source: str
    target: str
    channels: int
    grid: Grid

    def run(self, values: Values, graph: Graph) -> Value:
        x = values[self.source]
        assert isinstance(x, Tensor)
        return integer.quantize(x, self.grid)


@dataclass(frozen=True)
class Lookup:
    """Categories, int64 [N], to rows of an embedding table of codes."""

    source: str
    target: str
    table: Codes

    def run(self, values: Values, graph: Graph) -> Value:
        index = values[self.source]
        assert isinstance(index, Tensor)
        return integer.lookup(self.table, index)


@dataclass(frozen=True)
class Linear:
    """x W^T: codes [N, K] times integer weights [M, K].

    `weight_bits`: width of the grid of the weights. `degree_scale`: the product of row i is multiplied by d_i^-1/2,
    d the in-degree (GCN). `residual`: the value that the epilogue adds, or "".
    """

    source: str
    target: str
    weight: Weight
    weight_bits: int
    epilogue: Epilogue
    degree_scale: bool = False
    residual: str = ""

    def run(self, values: Values, graph: Graph) -> Value:
        epilogue = bound(self.epilogue, values, graph, self.degree_scale, self.residual)
        return integer.linear(codes(values, self.source), self.weight, epilogue)


@dataclass(frozen=True)
class LinearPair:
    """x W^T + y V^T: two values of codes times an integer weight each (GraphSAGE).

    `ratio`: the step of the second product divided by that of the first one, float64 [1] or [M].
    """

    source: str
    second: str
    target: str
    weight: Weight
    weight_bits: int
    second_weight: Weight
    second_weight_bits: int
    ratio: Tensor
    epilogue: Epilogue
    residual: str = ""

    def run(self, values: Values, graph: Graph) -> Value:
        epilogue = bound(self.epilogue, values, graph, False, self.residual)
        x, y = codes(values, self.source), codes(values, self.second)
        return integer.linear_pair(x, self.weight, y, self.second_weight, self.ratio, epilogue)


@dataclass(frozen=True)
class Aggregate:
    """Sums of codes [N, channels] over incoming edges, weighted if the graph has edge weights.

    `self_weight`: 1 + eps of GIN, or None. `mean`: sums are divided by the number of edges.
    """

    source: str
    target: str
    channels: int
    self_weight: float | None
    epilogue: Epilogue
    degree_scale: bool = False
    mean: bool = False
    residual: str = ""

    def run(self, values: Values, graph: Graph) -> Value:
        epilogue = bound(self.epilogue, values, graph, self.degree_scale, self.residual)
        x = codes(values, self.source)
        if graph.edge_weight is not None:
            return integer.aggregate_weighted(graph.csr, x, graph.edge_weight, self.mean, epilogue)
        if self.mean:
            return integer.aggregate_mean(graph.csr, x, epilogue)
        return integer.aggregate(graph.csr, x, self.self_weight, epilogue)


@dataclass(frozen=True)
class Attention:
    """GAT's attention over codes [N, heads * channels]: coefficients and weighted sums in float32.

    `attention`: float32 [2, heads, channels], of the source and of the target. `concat`: heads side by side, else mean.
    """

    source: str
    target: str
    attention: Tensor
    negative_slope: float
    concat: bool
    epilogue: Epilogue
    residual: str = ""

    def __post_init__(self) -> None:
        shape = list(self.attention.shape)
        if len(shape) != 3 or shape[0] != 2 or not self.attention.numel() or not self.attention.is_floating_point():
            raise ConfigError.rule(f"{self.target}.attention", "be float [2, H, C]", f"{self.attention.dtype} {shape}")

    def run(self, values: Values, graph: Graph) -> Value:
        epilogue = bound(self.epilogue, values, graph, False, self.residual)
        h = codes(values, self.source)
        a_source, a_target = self.attention
        return integer.attention(graph.csr, h, a_source, a_target, self.negative_slope, self.concat, epilogue)


@dataclass(frozen=True)
class DynamicAttention:
    """GATv2's attention over codes [N, heads * channels] of sources and, `second`, of targets; else as `Attention`.

    `attention`: float32 [heads, channels].
    """

    source: str
    second: str
    target: str
    attention: Tensor
    negative_slope: float
    concat: bool
    epilogue: Epilogue
    residual: str = ""

    def __post_init__(self) -> None:
        shape = list(self.attention.shape)
        if len(shape) != 2 or not self.attention.numel() or not self.attention.is_floating_point():
            raise ConfigError.rule(f"{self.target}.attention", "be float [H, C]", f"{self.attention.dtype} {shape}")

    def run(self, values: Values, graph: Graph) -> Value:
        epilogue = bound(self.epilogue, values, graph, False, self.residual)
        h, t = codes(values, self.source), codes(values, self.second)
        return integer.dynamic_attention(graph.csr, h, t, self.attention, self.negative_slope, self.concat, epilogue)


@dataclass(frozen=True)
class Readout:
    """Sum, mean or max of the codes of each graph's nodes: [N, channels] to [G, channels]."""

    source: str
    target: str
    channels: int
    mode: str
    epilogue: Epilogue

    def run(self, values: Values, graph: Graph) -> Value:
        return integer.segment_reduce(codes(values, self.source), graph.node_ptr, self.mode, self.epilogue)


Operation = Quantize | Lookup | Linear | LinearPair | Aggregate | Attention | DynamicAttention | Readout


def codes(values: Values, name: str) -> Codes:
    """A value that holds codes."""
    value = values[name]
    assert isinstance(value, Codes)
    return value


def bound(epilogue: Epilogue, values: Values, graph: Graph, degree_scale: bool, residual: str) -> Epilogue:
    """The epilogue with the tensors of this batch: d^-1/2 (in float32, as in training) and the residual's codes."""
    if degree_scale:
        epilogue = replace(epilogue, row_scale=graph.inverse_sqrt_degree.double())
    if residual:
        epilogue = replace(epilogue, residual=codes(values, residual))
    return epilogue


def inputs(operation: Operation) -> tuple[str, ...]:
    """Names of the values that an operation reads."""
    others = (getattr(operation, name, "") for name in ("second", "residual"))
    return operation.source, *(name for name in others if name)


def result_channels(operation: Operation) -> int:
    """Channels of an operation's result."""
    if isinstance(operation, Linear | LinearPair):
        return operation.weight.codes.size(0)
    if isinstance(operation, Lookup):
        return operation.table.channels
    if isinstance(operation, Attention | DynamicAttention):
        heads, channels = operation.attention.shape[-2:]
        return heads * channels if operation.concat else channels
    return operation.channels


def result_grid(operation: Operation) -> Grid | None:
    """The grid of an operation's result; None: float32."""
    if isinstance(operation, Quantize):
        return operation.grid
    return operation.table.grid if isinstance(operation, Lookup) else operation.epilogue.grid
