"""Indices and order of lanes, parts of vectors, masks as words of bits, and reductions over the lanes of a vector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types

from dqrun.kernels.cpu.linked import intrinsic
from dqrun.kernels.cpu.vector.arithmetic import compare
from dqrun.kernels.cpu.vector.features import HAS_AVX512F
from dqrun.kernels.cpu.vector.kinds import F32x16, I32x16, Vector
from dqrun.kernels.cpu.vector.llvm import I1, I32, I64, call, shuffled, spread

WORDS: dict[int, Any] = {8: types.uint8, 16: types.uint16, 32: types.uint32, 64: types.uint64}


@intrinsic
def count_lanes(_context: Any, kind: Any) -> Any:
    """0, 1, 2, ... in the lanes of a kind of integers."""
    vector = kind.instance_type

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return vector.constant(list(range(vector.lanes)))

    return vector(kind), generate


@intrinsic
def lanes_below(_context: Any, kind: Any, count: Any) -> Any:
    """The mask of the first `count` lanes of a kind."""
    mask = kind.instance_type.of(types.boolean)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        places = ir.Constant(ir.VectorType(I64, mask.lanes), list(range(mask.lanes)))
        return builder.icmp_signed("<", places, spread(builder, args[1], mask.lanes))

    return mask(kind, types.int64), generate


def _arrangement(places: Callable[[int], list[int]], given: int) -> Any:
    """A function of `given` vectors of one kind; it returns the lanes with the indices places(lanes)."""

    def one(_context: Any, v: Any) -> Any:
        chosen = places(v.lanes)

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return shuffled(builder, args[0], args[0], chosen)

        return Vector(v.dtype, len(chosen))(v), generate

    def two(_context: Any, v: Any, w: Any) -> Any:
        assert v == w, f"vectors of two kinds: {v}, {w}"
        chosen = places(v.lanes)

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return shuffled(builder, args[0], args[1], chosen)

        return Vector(v.dtype, len(chosen))(v, w), generate

    return intrinsic(one if given == 1 else two)


low_half = _arrangement(lambda lanes: list(range(lanes // 2)), 1)
"""The first half of the lanes."""
high_half = _arrangement(lambda lanes: list(range(lanes // 2, lanes)), 1)
"""The second half of the lanes."""
join = _arrangement(lambda lanes: list(range(2 * lanes)), 2)
"""The lanes of v, followed by those of w."""
interleave = _arrangement(lambda lanes: [place for i in range(lanes) for place in (i, lanes + i)], 2)
"""v[0], w[0], v[1], w[1], ...; twice as many lanes."""


@intrinsic
def permute(_context: Any, v: Any, places: Any) -> Any:
    """v[places[i]] in lane i; v: F32x16, places: I32x16 with values in 0..15."""
    assert (v, places) == (F32x16, I32x16), f"permute takes {F32x16}, {I32x16}, got {v}, {places}"

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if HAS_AVX512F:
            return call(builder, "llvm.x86.avx512.permvar.sf.512", v.llvm, args)
        result = ir.Constant(v.llvm, ir.Undefined)
        for lane in range(v.lanes):
            value = builder.extract_element(args[0], builder.extract_element(args[1], I32(lane)))
            result = builder.insert_element(result, value, I32(lane))
        return result

    return v(v, places), generate


@intrinsic
def word(_context: Any, mask: Any) -> Any:
    """A mask as the bits of an unsigned integer; the first lane is the lowest bit."""
    result = WORDS[mask.lanes]

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(mask.lanes))

    return result(mask), generate


@intrinsic
def from_word(_context: Any, kind: Any, bits: Any) -> Any:
    """A mask of the kind `kind` from the bits of an integer; the lowest bit is the first lane."""
    mask = kind.instance_type
    source = WORDS[mask.lanes]

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[1], mask.llvm)

    return mask(kind, source), generate


@intrinsic
def lowest_bit(_context: Any, bits: Any) -> Any:
    """The index of the lowest set bit of a word, uint32, as int64; the word must not be 0."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.zext(builder.cttz(args[0], ir.Constant(I1, 1)), I64)

    return types.int64(types.uint32), generate


@intrinsic
def count_bits(_context: Any, bits: Any) -> Any:
    """The number of set bits of a word, uint32, as int64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.zext(builder.ctpop(args[0]), I64)

    return types.int64(types.uint32), generate


def _over_lanes(choose: Callable[[Any, Vector, Any, Any], Any]) -> Any:
    """A function of a vector: choose(builder, kind, low, high) combines its halves until one lane is left."""

    def over(_context: Any, v: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value, lanes = args[0], v.lanes
            while lanes > 1:
                lanes //= 2
                halves = (shuffled(builder, value, value, list(range(at, at + lanes))) for at in (0, lanes))
                value = choose(builder, v, *halves)
            return builder.extract_element(value, I32(0))

        return v.dtype(v), generate

    return intrinsic(over)


def _added(builder: Any, kind: Vector, low: Any, high: Any) -> Any:
    return builder.fadd(low, high) if kind.is_float else builder.add(low, high)


def _chosen(operator: str) -> Callable[[Any, Vector, Any, Any], Any]:
    return lambda builder, kind, low, high: builder.select(compare(builder, kind, operator, low, high), low, high)


sum_lanes = _over_lanes(_added)
"""The sum of all lanes: the second half is added to the first one until one lane is left."""
lowest_lane, highest_lane = _over_lanes(_chosen("<")), _over_lanes(_chosen(">"))
"""The smallest and the largest value of all lanes."""
