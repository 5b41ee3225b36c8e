"""Rows that differ in width: `RowWidths`, and `DegreeRange`, where the width follows from a node's in-degree."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

from dqrun import kernels
from dqrun.errors import ConfigError, DataError
from dqrun.kernels.combine import values_of, with_values
from dqrun.kernels.row_widths import fake_quantize_row_widths, mean_error_of_rows
from dqrun.quant.rounding import UniformRounding
from dqrun.quant.scales import Quantizable, ScaleProvider
from dqrun.quant.spec import QuantSpec, Scales
from dqrun.quant.values import Values

T = TypeVar("T")
NARROWEST, WIDEST = 1, 8


class Memory(NamedTuple):
    """Memory of one rounded tensor: total `bits`, float32 0-d with a gradient to the widths, and its shape."""

    bits: Tensor
    columns: int
    rows: int


class RowWidthRounding(UniformRounding):
    """Placeholder: `RowWidths.rounded` rounds, with a grid for each row. No integer program has these codes."""

    codes_of_spec = False


class RowWidths(ScaleProvider):
    """Grids whose width differs by row; a subclass defines `rounded`, which calls `note`."""

    widths_differ = True

    def __init__(self, spec: QuantSpec) -> None:
        super().__init__(spec)
        self.row_bits = torch.empty(0)
        self._memory: Memory | None = None

    def note(self, tensor: Quantizable[object], bits: Tensor) -> None:
        """Keeps the widths of a call, float32 [N], before they are rounded to whole bits, with their gradient."""
        rounded, columns = whole_bits(bits), math.prod(tensor.x.shape[1:])
        self.row_bits = rounded.detach()
        self._memory = Memory(rounded.sum() * columns, columns, bits.numel()) if bits.requires_grad else None

    def take_memory(self) -> Memory | None:
        """Returns and clears the memory of the last call, if its widths require a gradient; else None."""
        taken, self._memory = self._memory, None
        return taken

    def forward(self, tensor: Quantizable[object]) -> Scales:
        raise ConfigError("rows that differ in width have no scales of one grid: `rounded` rounds them")


class DegreeRange(RowWidths):
    """The range of each row from the row itself, as in `RowRange`, and its width from the node's in-degree.

    Degrees d with `limits[k - 1]` <= d < `limits[k]` (0 before the first limit) have width `bits[k]`. With `learned`,
    `bits` is a float32 parameter, rounded to whole bits. Its gradient is that of E_i = mean |xhat - x| over the node's
    row: the error is proportional to 2^-b, so that dE_i/db = -ln 2 E_i. `degree`: int64 [N], set before each pass.
    """

    bits: Tensor

    def __init__(self, spec: QuantSpec, limits: Sequence[int], bits: Sequence[float], learned: bool) -> None:
        super().__init__(spec)
        self.learned = learned
        self.degree = torch.empty(0, dtype=torch.int64)
        self.register_buffer("limits", torch.tensor(limits, dtype=torch.int64), persistent=False)
        table = torch.tensor(bits, dtype=torch.float32)
        if learned:
            self.bits = nn.Parameter(table)
        else:
            self.register_buffer("bits", table, persistent=False)

    def widths(self, tensor: Quantizable[object]) -> Tensor:
        """Bits of each row before they are rounded, float32 [N].

        Raises DataError if the number of rows is not the number of nodes.
        """
        rows = tensor.x.size(0)
        if self.degree.numel() != rows:
            raise DataError(f"widths by in-degree need a row for each of {self.degree.numel()} nodes, got {rows} rows")
        return self.bits[torch.bucketize(self.degree, cast(Tensor, self.limits), right=True)]

    def rounded(self, tensor: Quantizable[T], rounding: Callable[[Quantizable[T], Scales], T]) -> T:
        assert isinstance(tensor, Values)
        bits = self.widths(tensor)
        x: Any = tensor.x
        with torch.no_grad():
            levels = torch.exp2(whole_bits(bits)).view(-1, *[1] * (len(x.shape) - 1))
            scale, zero_point, offset = self._grids(x, levels)
        y: Any = fake_quantize_row_widths(x, scale, zero_point, levels, 0, tensor.protected, offset)
        if self.training and self.learned:
            slope = -math.log(2) * mean_error_of_rows(x, y)
            y = with_values(y, _WithLocalGradient.apply(values_of(y), bits, slope))  # type: ignore[no-untyped-call]
        self.note(tensor, bits)
        return cast(T, y.relu() if tensor.relu else y)

    def _grids(self, x: kernels.Rows, levels: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Scale, zero point (float32) and offset of each row, whose codes are 0 to levels - 1."""
        low, high = kernels.row_extremes(x, 0)
        grid = self.spec.grid if isinstance(x, Tensor) else self.spec.grid.with_zero()
        if grid.offset == "inside":  # for a range that contains zero both offsets give the same zero point
            low, high, grid = low.clamp(max=0.0), high.clamp(min=0.0), grid._replace(offset="integer")
        ends: Any = {"qmin": 0, "qmax": levels - 1}
        scale, zero_point, offset = grid._replace(**ends).scales(low, high)
        return scale, zero_point.to(scale.dtype), offset


def whole_bits(bits: Tensor) -> Tensor:
    """|bits| rounded to a whole number from 1 to 8; gradient: that of |bits| (straight-through)."""
    size = bits.abs()
    return size + (size.round().clamp(NARROWEST, WIDEST) - size).detach()


def row_widths(model: nn.Module) -> list[RowWidths]:
    """All scale providers of a network with widths per row."""
    return [module for module in model.modules() if isinstance(module, RowWidths)]


def squared_excess(model: nn.Module, target_bits: float) -> Tensor | None:
    """R (relu(B - target_bits))^2, float32 0-d; None if the last training step rounded no rows with learned widths.

    R: number of rows that it rounded. B: mean width over all their elements. A2Q (eq. 5) penalises the squared excess
    in KiB; the gradient of the width of row i then grows with the number of rows, but its local gradient does not.
    Here it is 2 relu(B - target_bits) F_i / mean F, F_i the number of elements of row i, for graphs of any size.
    """
    providers = row_widths(model)
    found = [memory for each in providers if (memory := each.take_memory()) is not None]
    if not found:
        return None
    ranks = providers[0].ranks
    numbers = ranks.total(sum(each.rows * each.columns for each in found))
    mean = ranks.summed(torch.stack([each.bits for each in found]).sum()) / numbers
    return ranks.total(sum(each.rows for each in found)) * (mean - target_bits).relu().square()


class _WithLocalGradient(torch.autograd.Function):
    """Returns y; `bits` [N] get the gradient `slope` [N], whatever the gradient of y is."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, bits: Tensor, slope: Tensor) -> Tensor:
        ctx.slope = slope
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return grad, ctx.slope, None
