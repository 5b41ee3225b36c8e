"""Arithmetic functions of vectors. A number among vectors is converted to a vector with the number in each lane."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dqrun.kernels.cpu.linked import intrinsic
from dqrun.kernels.cpu.vector.features import HAS_AVX512F, HAS_VNNI
from dqrun.kernels.cpu.vector.kinds import F64x16, I8x64, I32x8, I32x16, U8x64, Vector
from dqrun.kernels.cpu.vector.llvm import I8, I32, call, shuffled, spread

LOWEST = -(2.0**31)
AS_SET = 4  # the processor's current rounding mode: half to even


def common(args: Any) -> tuple[Vector, list[Any]]:
    """The kind of the first vector among the types, and the types that the arguments are converted to."""
    kind = next(arg for arg in args if isinstance(arg, Vector))
    assert all(arg == kind for arg in args if isinstance(arg, Vector)), f"vectors of several kinds: {args}"
    return kind, [arg if isinstance(arg, Vector) else kind.dtype for arg in args]


def vectors(builder: Any, values: Any, wanted: Any) -> list[Any]:
    """The values, with numbers converted to vectors."""
    lanes = next(kind.lanes for kind in wanted if isinstance(kind, Vector))
    return [
        value if isinstance(kind, Vector) else spread(builder, value, lanes)
        for value, kind in zip(values, wanted, strict=True)
    ]


def compare(builder: Any, kind: Vector, operator: str, v: Any, w: Any) -> Any:
    """The mask of a comparison; with a NaN only != is true."""
    if kind.is_float:
        return (builder.fcmp_unordered if operator == "!=" else builder.fcmp_ordered)(operator, v, w)
    return (builder.icmp_signed if kind.is_signed else builder.icmp_unsigned)(operator, v, w)


def _choice(operator: str) -> Callable[..., Any]:
    def choose(_context: Any, v: Any, w: Any) -> Any:
        if not isinstance(v, Vector) and not isinstance(w, Vector):
            return None
        kind, wanted = common((v, w))

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            one, two = vectors(builder, args, wanted)
            return builder.select(compare(builder, kind, operator, one, two), one, two)

        return kind(*wanted), generate

    return choose


minimum: Any = intrinsic(_choice("<"))
"""v where v < w, else w."""
maximum: Any = intrinsic(_choice(">"))
"""v where v > w, else w."""


@intrinsic
def where(_context: Any, mask: Any, v: Any, w: Any) -> Any:
    """v in the lanes where the mask is true, w in the others. `mask`: a mask of lanes, or one boolean for all."""
    kind, wanted = common((v, w))

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(args[0], *vectors(builder, args[1:], wanted))

    return kind(mask, *wanted), generate


@intrinsic
def fma(_context: Any, v: Any, w: Any, term: Any) -> Any:
    """v * w + term, rounded once if the processor supports it, else twice."""
    kind, wanted = common((v, w, term))

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return call(builder, f"llvm.fmuladd.{kind.suffix}", kind.llvm, vectors(builder, args, wanted))

    return kind(*wanted), generate


@intrinsic
def count_ones(_context: Any, v: Any) -> Any:
    """The number of set bits of each lane, an integer."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return call(builder, f"llvm.ctpop.{v.suffix}", v.llvm, args)

    return v(v), generate


@intrinsic
def rint(_context: Any, v: Any) -> Any:
    """Float lanes (or one float) rounded to integers, half to even; the type stays float."""
    suffix = v.suffix if isinstance(v, Vector) else f"f{v.bitwidth}"

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return call(builder, f"llvm.rint.{suffix}", args[0].type, args)

    return v(v), generate


@intrinsic
def nearest(_context: Any, v: Any) -> Any:
    """F64x16 rounded to I32x16, half to even; values must be below 2^31 - 1/2, those below -2^31 give -2^31."""
    assert v == F64x16, f"nearest takes {F64x16}, got {v}"

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if not HAS_AVX512F:
            low = F64x16.constant(LOWEST)
            v = builder.select(builder.fcmp_ordered(">", args[0], low), args[0], low)
            return builder.fptosi(call(builder, "llvm.rint.v16f64", F64x16.llvm, [v]), I32x16.llvm)
        none, name = I32x8.constant(0), "llvm.x86.avx512.mask.cvtpd2dq.512"
        halves = [shuffled(builder, args[0], args[0], list(range(first, first + 8))) for first in (0, 8)]
        low, high = (call(builder, name, I32x8.llvm, [half, none, I8(-1), I32(AS_SET)]) for half in halves)
        return shuffled(builder, low, high, list(range(16)))

    return I32x16(v), generate


@intrinsic
def add_dots(_context: Any, sums: Any, x: Any, y: Any) -> Any:
    """sums[i] + the sum over j < 4 of x[4 i + j] * y[4 i + j]: I32x16, U8x64 and I8x64; modulo 2^32."""
    assert (sums, x, y) == (I32x16, U8x64, I8x64), f"add_dots takes I32x16, U8x64, I8x64, got {sums}, {x}, {y}"

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        words = [builder.bitcast(arg, I32x16.llvm) for arg in args]
        if HAS_VNNI:
            return call(builder, "llvm.x86.avx512.vpdpbusd.512", I32x16.llvm, words)
        return _plain_dots(builder, *words)

    return I32x16(sums, x, y), generate


def _plain_dots(builder: Any, total: Any, x: Any, y: Any) -> Any:
    byte, top = I32x16.constant(255), I32x16.constant(24)
    for j in range(4):
        code = builder.and_(builder.lshr(x, I32x16.constant(8 * j)), byte)
        factor = builder.ashr(builder.shl(y, I32x16.constant(24 - 8 * j)), top)
        total = builder.add(total, builder.mul(code, factor))
    return total
