"""The requantisation rule in fixed point: the computation of `Epilogue` with integers only.

A real factor is a mantissa of 31 bits and a right shift that rounds (Jacob et al. 2018, section 2.2, eq. 6). Values are
integer multiples of 2^-fraction steps of the result's grid. All tensors here are int64; a product of two 32-bit numbers
fits. The C export does exactly these operations, so that both give the same codes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from dqrun.errors import ConfigError
from dqrun.kernels.integer.codes import CodeGrid, Codes
from dqrun.kernels.integer.epilogue import Epilogue
from dqrun.kernels.integer.fixed_numbers import LOG2_FRACTION, ROW_FRACTION, exp2_negative, round_shift
from dqrun.kernels.integer.row_grid import RowGrid

MOST_FRACTION = 20
"""Most fractional bits of a value in steps: the error of each rounded product is then at most 2^-21 of a step."""
MANTISSA_BITS = 31
LARGEST_SHIFT = 62
LARGEST = 2**31 - 1
ELU_REACH = 32
"""exp(-x) is treated as 0 from this x on; the number format of values in steps must cover it."""


@dataclass(frozen=True)
class Factor:
    """A real number as mantissa * 2^-shift, one for each channel or one for all, int64 [C] or [1].

    |mantissa| is 0 or in 2^30..2^31 - 1, shift in 1..62: a product with an int32 stays below 2^61 after the shift.
    """

    mantissa: Tensor
    shift: Tensor

    @classmethod
    def of(cls, value: Tensor) -> Factor:
        """The nearest factors of float64 numbers, absolute values below 2^30; 0 if the product with any int32 is 0."""
        part, exponent = torch.frexp(value)
        mantissa = torch.round(part * 2.0**MANTISSA_BITS).long()
        over = mantissa.abs() == 1 << MANTISSA_BITS
        mantissa = torch.where(over, torch.div(mantissa, 2, rounding_mode="trunc"), mantissa)
        shift = MANTISSA_BITS - exponent.long() - over.long()
        tiny = (shift > LARGEST_SHIFT) | (mantissa == 0)
        return cls(torch.where(tiny, 0, mantissa), torch.where(tiny, 1, shift))

    def times(self, x: Tensor, rows: RowFactor | None = None) -> Tensor:
        """The rounded product with integers x [N, C] in the range of int32, and with a factor of each row if given."""
        if rows is None:
            return round_shift(x * self.mantissa, self.shift)
        mantissa = round_shift(self.mantissa * rows.mantissa.unsqueeze(1), torch.tensor(ROW_FRACTION))
        return round_shift(x * mantissa, self.shift + rows.shift.unsqueeze(1))


@dataclass(frozen=True)
class RowFactor:
    """A factor of each row, mantissa * 2^-(30 + shift), int64 [N]; a mantissa is 0 or in 2^29..2^30."""

    mantissa: Tensor
    shift: Tensor

    @classmethod
    def inverse_root(cls, degree: Tensor) -> RowFactor:
        """d^-1/2 for degrees int64 [N]; 0 for 0. The mantissa is (isqrt(floor(2^(62 + 2 shift) / d)) + 1) / 2."""
        known, place = torch.unique(degree, return_inverse=True)
        numbers = torch.tensor([inverse_root(d) for d in known.tolist()], dtype=torch.int64).view(-1, 2)
        return cls(*numbers[place].unbind(1))

    @classmethod
    def reciprocal(cls, count: Tensor) -> RowFactor:
        """1 / n for counts int64 [N], 1 for 0. The mantissa is floor((2^(30 + shift) + floor(n / 2)) / n)."""
        count = count.clamp(min=1)
        shift = torch.frexp(count.double()).exponent.long() - 1
        whole = torch.bitwise_left_shift(torch.ones_like(count), ROW_FRACTION + shift)
        return cls(torch.div(whole + count // 2, count, rounding_mode="floor"), shift)


def inverse_root(degree: int) -> tuple[int, int]:
    """Mantissa and shift of d^-1/2; see `RowFactor.inverse_root`."""
    if degree == 0:
        return 0, 0
    shift = (degree.bit_length() - 1) // 2
    return (math.isqrt((1 << (2 * ROW_FRACTION + 2 + 2 * shift)) // degree) + 1) // 2, shift


@dataclass(frozen=True)
class Elu:
    """The factors of an ELU: from v in steps to -v in the exponent of two, and from exp(v) - 1 in 2^-30 to steps."""

    exponent: Factor
    steps: Factor

    def __call__(self, v: Tensor) -> Tensor:
        """v where it is not negative, else exp(v) - 1."""
        power = exp2_negative(self.exponent.times((-v).clamp(0, LARGEST)))
        return torch.where(v < 0, self.steps.times(power - (1 << ROW_FRACTION)), v)


@dataclass(frozen=True)
class FixedEpilogue:
    """Computes the result from one or two exact sums of row i and channel c; each product is rounded once:

        v = acc * factor[c]                                      both with the row's factor, if there is one
        v = v + second_acc * second[c]                           if given (GIN's own row, GraphSAGE's second product)
        v = v + bias[c]                                          if given
        v = max(v, 0), or min(v, 0) where falling[c]             if pre_relu
        v = v + offset[c]                                        if given
        v = max(v, 0) | v < 0: exp(v) - 1 | v                    activation
        v = v + (residual[i, c] - its zero point) * shortcut     if given
        code = clamp(v / 2^fraction rounded + zero point, 0, top)

    Rounding is to nearest, halves away from zero. v is in 2^-fraction steps of the grid. Without a grid the result is
    v, saturated to int32, and one unit is 2^-fraction.

    `bias`, `offset`: int64 [C] or [1]. `falling`: bool [C], true where the gain after the ReLU is negative.
    """

    fraction: int
    factor: Factor
    second: Factor | None
    bias: Tensor | None
    pre_relu: bool
    falling: Tensor | None
    offset: Tensor | None
    activation: str
    elu: Elu | None
    shortcut: Factor | None
    grid: CodeGrid | None

    @classmethod
    def of(
        cls,
        epilogue: Epilogue,
        unit: float = 1.0,
        ratio: Tensor | None = None,
        residual: CodeGrid | None = None,
        reach: float = 1.0,
    ) -> FixedEpilogue:
        """The rule for the numbers of `epilogue`.

        unit: value of one unit of acc in the steps of its epilogue. ratio: value of one unit of the second sum in the
        same steps, float64 [1] or [C]. residual: the grid of the residual. reach: the largest |acc|, for the unit of
        logits. Raises ConfigError for numbers that do not fit int32.
        """
        return _Making(epilogue, unit, ratio, residual, reach).made()

    @property
    def scale(self) -> float:
        """The value of one unit of a result without a grid."""
        return float(2.0**-self.fraction)

    def finish(
        self, acc: Tensor, second: Tensor | None = None, rows: RowFactor | None = None, residual: Codes | None = None
    ) -> Codes | Tensor:
        """The result for sums int64 [N, C] in the range of int32: Codes, or int32 [N, C] without a grid."""
        v = self.factor.times(acc, rows)
        if self.second is not None and second is not None:
            v = v + self.second.times(second, rows)
        if self.bias is not None:
            v = v + self.bias
        if self.pre_relu:
            v = v.clamp(min=0) if self.falling is None else torch.where(self.falling, v.clamp(max=0), v.clamp(min=0))
        if self.offset is not None:
            v = v + self.offset
        if self.activation == "relu":
            v = v.clamp(min=0)
        if self.elu is not None:
            v = self.elu(v)
        if residual is not None and self.shortcut is not None:
            v = v + self.shortcut.times(residual.unpack().long() - residual.grid.zero_point)
        if self.grid is None:
            return v.clamp(-LARGEST, LARGEST).int()
        code = round_shift(v, torch.tensor(self.fraction)) + self.grid.zero_point
        return Codes.of(code.clamp(0, self.grid.top), self.grid)


@dataclass(frozen=True)
class _Making:
    """The numbers of an epilogue in float64, from units of its sums to steps of its result, and their fraction."""

    epilogue: Epilogue
    unit: float
    ratio: Tensor | None
    residual: CodeGrid | None
    reach: float

    @property
    def grid(self) -> CodeGrid | None:
        """The grid of the result; rows with their own grids have no fixed-point form."""
        assert not isinstance(self.epilogue.grid, RowGrid)
        return self.epilogue.grid

    def made(self) -> FixedEpilogue:
        e, fraction = self.epilogue, self.fraction
        fine = 2.0**fraction
        factor, second, bias, offset = self.parts
        falls = e.gain is not None and e.pre_relu and bool((e.gain < 0).any())
        return FixedEpilogue(
            fraction=fraction,
            factor=Factor.of(factor * fine),
            second=None if second is None else Factor.of(second * fine),
            bias=None if bias is None else torch.round(bias * fine).long(),
            pre_relu=e.pre_relu,
            falling=e.gain < 0 if falls and e.gain is not None else None,
            offset=None if offset is None else torch.round(offset * fine).long(),
            activation=e.activation,
            elu=self.elu(fraction),
            shortcut=None if self.shortcut is None else Factor.of(self.shortcut * fine),
            grid=self.grid,
        )

    @cached_property
    def parts(self) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
        """Factors of both sums and the terms added before and after the first ReLU, in steps (logits: real units)."""
        e, inverse = self.epilogue, 1.0 if self.grid is None else 1 / self.grid.scale
        factor, bias, offset = e.multiplier, e.bias, None
        if e.gain is not None and e.offset is not None:
            factor = factor * e.gain
            bias = None if bias is None else bias * e.gain
            if e.pre_relu:
                offset = e.offset * inverse
            else:
                bias = e.offset if bias is None else bias + e.offset
        bias = None if bias is None else bias * inverse
        factor = factor * inverse
        return factor * self.unit, None if self.ratio is None else factor * self.ratio, bias, offset

    @cached_property
    def shortcut(self) -> Tensor | None:
        """One step of the residual in steps of the result."""
        if self.residual is None or self.grid is None:
            return None
        return torch.tensor([self.residual.scale / self.grid.scale], dtype=torch.float64)

    @property
    def fraction(self) -> int:
        """The most fractional bits with which all numbers fit int32, at most MOST_FRACTION for codes."""
        factor, second, bias, offset = self.parts
        factors = [_largest(part) for part in (factor, second, self.shortcut) if part is not None]
        terms = [_largest(part) for part in (bias, offset) if part is not None]
        bounds = [_bits(30, size) for size in factors] + [_bits(31, size) for size in terms]
        grid = self.grid
        if grid is None:
            whole = factors[0] * self.reach + sum(terms)
            return self.checked(min([*bounds, _bits(31, whole)]), -60)
        if self.epilogue.activation == "elu":
            bounds.append(_bits(31, ELU_REACH / grid.scale))
        return self.checked(min([*bounds, MOST_FRACTION]), 0)

    def checked(self, fraction: int, lowest: int) -> int:
        if not lowest <= fraction <= 60:
            what = "epilogue" if self.grid is None else f"epilogue of scale {self.grid.scale:g}"
            raise ConfigError(f"{what} must have numbers that int32 holds in fixed point, got others")
        return fraction

    def elu(self, fraction: int) -> Elu | None:
        grid = self.grid
        if self.epilogue.activation != "elu" or grid is None:
            return None
        exponent = grid.scale * math.log2(math.e) * 2.0 ** (LOG2_FRACTION - fraction)
        steps = 2.0 ** (fraction - ROW_FRACTION) / grid.scale
        return Elu(*(Factor.of(torch.tensor([value], dtype=torch.float64)) for value in (exponent, steps)))


def _largest(numbers: Tensor) -> float:
    return float(numbers.abs().max())


def _bits(limit: int, largest: float) -> int:
    """The most fractional bits with which `largest` stays below 2^limit."""
    return 60 if largest == 0 else limit - math.frexp(largest)[1]
