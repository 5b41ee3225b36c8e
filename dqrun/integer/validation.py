"""Rules that a program must obey before any kernel runs. Kernels rely on them: they check no size and no index.

A program is a list of operations. Each makes a value with a name of its own and reads `x` or values of earlier
operations. The `Kind` of a value has its known properties: a row per node or per graph, number of channels, grid.

1. Names consist of letters, digits, `_` and `.`, and each is used once. The first operation, and no other, is a
   `Quantize` or `Lookup`, and reads `x`. The last one, and no other, gives `logits`, and its result has no grid. Every
   other value is read by a later operation.
2. The weight of `Linear` has as many inputs as its source has channels; `Aggregate`, `Attention` and `Readout` declare
   the number of channels of their source. These three read values of nodes; a `Readout`, of which there is at most one,
   gives a value of graphs.
3. An epilogue has one number per channel of its result (a multiplier may be one for all). A residual is an earlier
   value of codes with the rows and the channels of the result; logits take none. Degrees belong to nodes.
4. Codes lie on their grid. Numbers are finite, at most `LARGEST` (the largest float32), so that no product of an
   epilogue leaves float64; logits stay within float32. Sums of products stay within int32. A row of a table with a
   grid for each row has a scale, a power of two where the grid says so, and an offset, whole where it says so.
5. Sizes are at most those of `MOST_CHANNELS` and its neighbours, which bound time and memory.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch

import torch
from torch import Tensor

from dqrun.errors import ConfigError
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
    inputs,
    result_channels,
    result_grid,
)
from dqrun.integer.signature import LARGEST_SUM, Signature
from dqrun.kernels.integer import CodeGrid, Codes, Epilogue, Grid, RowGrid
from dqrun.kernels.integer.codes import SMALLEST_SCALE
from dqrun.kernels.integer.row_grid import LARGEST_VALUE
from dqrun.kernels.integer.stored import bits_behind

NAME = re.compile(r"[A-Za-z0-9_.]{1,200}")
MODES = ("sum", "mean", "max")
MOST_OPERATIONS = 4096
MOST_CHANNELS = 2**20
MOST_PAIRS = 2**24
"""Heads x heads x channels of an attention: its vectors are spread to a matrix of that size."""
LARGEST = torch.finfo(torch.float32).max
LARGEST_LOGIT = 2.0**125
"""Of attention: two halves, and the difference of two sums of them, stay finite in float32."""
LARGEST_OF_ROW = 64 * LARGEST_VALUE
"""The largest absolute value that a code of a row stands for: a range may be widened, and moved by a step."""


@dataclass(frozen=True)
class Kind:
    """The properties of a value that are known before anything runs; `grid` None: float32."""

    per_graph: bool
    channels: int
    grid: Grid | None

    @property
    def largest(self) -> float:
        """A bound of |code - zero point| for a `CodeGrid`, else of the real numbers."""
        if isinstance(self.grid, RowGrid):
            return LARGEST_OF_ROW
        return 0.0 if self.grid is None else float(self.grid.top)

    @property
    def worth(self) -> float:
        """A bound of one unit in sums over this value: 1 (a step) for a `CodeGrid`, LARGEST_OF_ROW for a `RowGrid`."""
        return LARGEST_OF_ROW if isinstance(self.grid, RowGrid) else 1.0

    @property
    def shape(self) -> str:
        """Rows and channels in words."""
        return f"{self.channels} channels of {'graphs' if self.per_graph else 'nodes'}"


def validate(operations: Sequence[Operation]) -> Signature:
    """Checks the rules above and derives the signature. Raises ConfigError in one line: value, rule, what it got."""
    _require(1 <= len(operations) <= MOST_OPERATIONS, "operations", f"be 1..{MOST_OPERATIONS}", len(operations))
    known: dict[str, Kind] = {}
    unread: set[str] = set()
    for i, operation in enumerate(operations):
        last = i == len(operations) - 1
        name, residual = operation.target, getattr(operation, "residual", "")
        _check_name(i, name, known, last)
        if isinstance(operation, Quantize | Lookup):
            _require(i == 0 and operation.source == INPUT, name, f"be the first operation and read {INPUT!r}", i)
            source = Kind(False, 0, None)
        else:
            source = _earlier(name, "source", operation.source, known)
        kind = Kind(
            source.per_graph or isinstance(operation, Readout), result_channels(operation), result_grid(operation)
        )
        _check(operation, source)
        if not isinstance(operation, Quantize | Lookup):
            read = (known[each] for each in inputs(operation) if each in known)
            _check_epilogue(name, operation, kind, max(each.worth for each in read))
        if residual:
            _require(not last, f"{name}.residual", "be none", residual[:40])
            beside = _earlier(name, "residual", residual, known)
            _require(beside.shape == kind.shape, f"{name}.residual", f"be {kind.shape}", beside.shape)
        if isinstance(operation, LinearPair | DynamicAttention):
            _check_second(operation, source, _earlier(name, "second", operation.second, known))
        unread -= set(inputs(operation))
        unread |= set() if last else {name}
        known[name] = kind
    _require(not unread, "each value", "be read by a later operation", sorted(unread)[:1])
    return _signature(operations, known)


def _signature(operations: Sequence[Operation], known: dict[str, Kind]) -> Signature:
    first, readouts = operations[0], [op for op in operations if isinstance(op, Readout)]
    _require(len(readouts) <= 1, "operations", "have at most one readout", len(readouts))

    def limit(kind: type[Operation]) -> int:
        tops = [grid.top for op in operations if isinstance(op, kind) and (grid := known[op.source].grid)]
        return LARGEST_SUM // max(tops, default=1)

    return Signature(
        in_channels=first.channels if isinstance(first, Quantize) else 0,
        num_categories=first.table.num_rows if isinstance(first, Lookup) else 0,
        out_channels=known[LOGITS].channels,
        graph_level=known[LOGITS].per_graph,
        degree_limit=limit(Aggregate),
        size_limit=limit(Readout),
    )


def _check_name(i: int, name: str, known: dict[str, Kind], last: bool) -> None:
    where = f"operations.{i}.target"
    _require(NAME.fullmatch(name) is not None, where, "be letters, digits, _ and .", name[:40])
    _require(name != INPUT and name not in known, where, "be a new name", name)
    _require((name == LOGITS) == last, where, f"be {LOGITS!r} for the last operation alone", name)


def _earlier(name: str, field: str, wanted: str, known: dict[str, Kind]) -> Kind:
    """The value of codes `wanted`, which must come before the operation `name`."""
    _require(wanted in known, f"{name}.{field}", "name a value of codes before it", wanted[:40])
    return known[wanted]


@singledispatch
def _check(operation: Operation, source: Kind) -> None:
    """The rules of one kind of operation, which reads `source`."""
    raise TypeError(f"{type(operation).__name__} is no operation")


@_check.register
def _(operation: Quantize, source: Kind) -> None:
    _check_channels(operation.target, operation.channels)


@_check.register
def _(operation: Lookup, source: Kind) -> None:
    _require(operation.table.num_rows > 0, f"{operation.target}.table", "have rows", operation.table.num_rows)
    _check_channels(operation.target, operation.table.channels)
    _check_codes(f"{operation.target}.table", operation.table)


@_check.register
def _(operation: Linear, source: Kind) -> None:
    name = operation.target
    _check_channels(name, operation.weight.codes.size(0))
    _check_weight(f"{name}.weight", operation.weight.codes, operation.weight_bits, operation.source, source)
    _require(not (operation.degree_scale and source.per_graph), name, "be scaled by degrees of nodes only", "graphs")


@_check.register
def _(operation: LinearPair, source: Kind) -> None:
    name, codes = operation.target, operation.weight.codes
    _check_channels(name, codes.size(0))
    _check_weight(f"{name}.weight", codes, operation.weight_bits, operation.source, source)
    outputs = operation.second_weight.codes.size(0)
    _require(outputs == codes.size(0), f"{name}.second_weight", f"have {codes.size(0)} outputs", outputs)
    ratio = operation.ratio
    fits = ratio.dtype == torch.float64 and ratio.shape in ((1,), (outputs,))
    _require(fits, f"{name}.ratio", f"be float64 [1] or [{outputs}]", f"{ratio.dtype} {list(ratio.shape)}")
    _check_numbers(f"{name}.ratio", ratio)


def _check_second(operation: LinearPair | DynamicAttention, source: Kind, second: Kind) -> None:
    """The rules of the second value of an operation, and of its parameters."""
    name = operation.target
    _require(second.per_graph == source.per_graph, f"{name}.second", f"have the rows of {operation.source}", "others")
    if isinstance(operation, DynamicAttention):
        _require(second.shape == source.shape, f"{name}.second", f"be {source.shape}", second.shape)
        _check_logits(f"{name}.attention", operation.attention, source, second)
        return
    weight, bits = operation.second_weight.codes, operation.second_weight_bits
    _check_weight(f"{name}.second_weight", weight, bits, operation.second, second)


def _check_weight(name: str, codes: Tensor, bits: int, source: str, kind: Kind) -> None:
    """The rules of a weight and of its product with the value `source`."""
    _require(codes.size(1) == kind.channels, name, f"have {kind.channels} inputs", codes.size(1))
    _require(1 <= bits <= 8, f"{name}_bits", "be in 1..8", bits)
    top = max((1 << (bits - 1)) - 1, 1)
    low, high = int(codes.min()), int(codes.max())
    _require(-top <= low <= high <= top, name, f"be in {-top}..{top}", f"{low}..{high}")
    _require(bits > 1 or bool(codes.ne(0).all()), name, "be -1 or 1", 0)
    assert kind.grid is not None
    largest = codes.size(1) * kind.grid.top * top
    rule = f"keep sums of products within {LARGEST_SUM}, the int32 range"
    _require(largest <= LARGEST_SUM, source, rule, largest)


@_check.register
def _(operation: Aggregate, source: Kind) -> None:
    _check_rows_of_nodes(operation, source)
    _require(operation.channels == source.channels, f"{operation.target}.channels", _are(source), operation.channels)
    if operation.self_weight is not None:
        name = f"{operation.target}.self_weight"
        _check_numbers(name, torch.tensor([operation.self_weight], dtype=torch.float64))
        _require(not operation.mean, name, "be null with a mean", operation.self_weight)


@_check.register(Attention)
@_check.register(DynamicAttention)
def _(operation: Attention | DynamicAttention, source: Kind) -> None:
    name, vectors, slope = f"{operation.target}.attention", operation.attention, operation.negative_slope
    _check_rows_of_nodes(operation, source)
    heads, per_head = vectors.shape[-2:]
    _require(
        heads * per_head == source.channels,
        name,
        f"have H C = {source.channels}, the channels of its source",
        heads * per_head,
    )
    _require(heads * heads * per_head <= MOST_PAIRS, name, f"have H H C <= {MOST_PAIRS}", heads * heads * per_head)
    _require(0 <= slope <= 1, f"{operation.target}.negative_slope", "be in 0..1", slope)
    _check_numbers(name, vectors)
    _check_logits(name, vectors, source)


def _check_logits(name: str, vectors: Tensor, *kinds: Kind) -> None:
    """Requires that attention logits of codes of these kinds stay finite."""
    scales = (kind.grid.scale if isinstance(kind.grid, CodeGrid) else 1.0 for kind in kinds)
    reach = sum(kind.largest * max(scale, 1.0) for kind, scale in zip(kinds, scales, strict=True))
    largest = float(vectors.double().abs().sum(-1).max()) * reach
    _require(largest <= LARGEST_LOGIT, name, f"keep logits within {LARGEST_LOGIT}", largest)


@_check.register
def _(operation: Readout, source: Kind) -> None:
    _check_rows_of_nodes(operation, source)
    _require(operation.channels == source.channels, f"{operation.target}.channels", _are(source), operation.channels)
    _require(operation.mode in MODES, f"{operation.target}.mode", f"be one of {', '.join(MODES)}", operation.mode[:40])


def _check_rows_of_nodes(operation: Aggregate | Attention | DynamicAttention | Readout, source: Kind) -> None:
    what = f"be a value of nodes for {type(operation).__name__.lower()}"
    _require(not source.per_graph, f"{operation.target}.source", what, f"{operation.source}, of graphs")


def _check_epilogue(
    name: str,
    operation: Linear | LinearPair | Aggregate | Attention | DynamicAttention | Readout,
    result: Kind,
    worth: float,
) -> None:
    epilogue = operation.epilogue
    _require((epilogue.grid is None) == (name == LOGITS), f"{name}.epilogue", f"lack a grid for {LOGITS!r} alone", name)
    of_batch = epilogue.row_scale, epilogue.residual, epilogue.row_term
    _require(of_batch == (None, None, None), name, "have no numbers of a batch", "some")
    for part in ("multiplier", "bias", "gain", "offset"):
        numbers: Tensor | None = getattr(epilogue, part)
        if numbers is not None:
            where, found = f"{name}.epilogue.{part}", numbers.numel()
            several = found == result.channels or (part == "multiplier" and found == 1)
            _require(several, where, f"have {result.channels} numbers", found)
            _check_numbers(where, numbers)
    if epilogue.grid is None:
        own = getattr(operation, "self_weight", None) or 0.0
        second = float(operation.ratio.abs().max()) if isinstance(operation, LinearPair) else 0.0
        largest = _largest_result(epilogue, (LARGEST_SUM * (1 + second) + 255 * abs(own)) * worth)
        _require(largest <= LARGEST, name, "stay within float32", largest)


def _largest_result(epilogue: Epilogue, largest_sum: float) -> float:
    """A bound of the absolute value of logits, which take no residual and have no ELU that could enlarge them."""
    bound = largest_sum * epilogue.multiplier.abs()
    bound = bound if epilogue.bias is None else bound + epilogue.bias.abs()
    if epilogue.gain is not None and epilogue.offset is not None:
        bound = bound * epilogue.gain.abs() + epilogue.offset.abs()
    return float(bound.max())


def _check_channels(name: str, number: int) -> None:
    _require(1 <= number <= MOST_CHANNELS, f"{name}.channels", f"be in 1..{MOST_CHANNELS}", number)


def _check_codes(name: str, codes: Codes) -> None:
    """Requires codes on their grid, and 0 in bits that belong to no channel."""
    largest = int(codes.unpack().max())
    _require(largest <= codes.grid.top, name, f"hold codes in 0..{codes.grid.top}", largest)
    behind = bits_behind(codes.data, codes.channels, codes.grid.bits)
    _require(behind == 0, name, "have zeros behind the last channel", behind)
    if isinstance(codes.grid, RowGrid):
        _check_row_numbers(f"{name}.numbers", codes, codes.grid)


def _check_row_numbers(name: str, codes: Codes, grid: RowGrid) -> None:
    """Requires valid scales and offsets of rows: finite, and with numbers within LARGEST_OF_ROW."""
    assert codes.numbers is not None
    _check_numbers(name, codes.numbers)
    scale, offset = codes.numbers.unbind(1)
    least = float(scale.min())
    _require(least >= SMALLEST_SCALE, name, f"have scales of at least {SMALLEST_SCALE:.3g}", least)
    largest = float(codes.real().abs().max())
    _require(largest <= LARGEST_OF_ROW, name, f"keep values within {LARGEST_OF_ROW:.3g}", largest)
    if not grid.real_offset:
        _require(torch.equal(offset, offset.round()), name, "have whole offsets", offset[0].item())
    if grid.power_of_two:
        whole = torch.equal(torch.frexp(scale)[0], torch.full_like(scale, 0.5))
        _require(whole, name, "have powers of two as scales", scale[0].item())


def _check_numbers(name: str, numbers: Tensor) -> None:
    largest = float(numbers.abs().max())  # NaN where there is one
    _require(largest <= LARGEST, name, f"be finite and at most {LARGEST:.3g}", largest)


def _are(source: Kind) -> str:
    return f"be {source.channels}, the channels of its source"


def _require(holds: bool, name: str, rule: str, value: object) -> None:
    if not holds:
        raise ConfigError.rule(name, rule, value)
