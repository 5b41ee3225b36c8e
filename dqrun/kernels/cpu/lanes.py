"""Sums of many float32 terms in a fixed order, in vectors of the processor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import impl_ret_untracked

from dqrun.kernels.cpu.launch import inner
from dqrun.kernels.cpu.linked import intrinsic

LANES = 32
SHORT = 8
"""A sum of at most so many terms needs no more than one vector of so many lanes."""
MOST = 2048
"""Terms of one pass."""


def sum_of(term: Callable[..., Any]) -> Callable[..., Any]:
    """A compiled function total(size, arguments): the float32 sum of term(f, arguments) for f in 0..size - 1.

    Term f is added to partial sum f mod LANES, in ascending order of f; then the upper half of the partial sums is
    added to the lower one until one is left. (So it goes for each MOST terms, whose sums are added in order.) The order
    is therefore fixed by the source, for any processor. A compiler that may regroup sums (`fastmath`) chooses the order
    when it vectorises, and that depended on other code compiled in the process: trained networks differed in their last
    bits from one compilation to the next.

    term: compiled by `inner`; arguments: a tuple. Terms are first written to the stack. This costs little, and the
    compiler can vectorise them, which it cannot in a sum of fixed order.
    """

    @inner
    def total(size: int, arguments: Any) -> Any:
        terms = stack_floats()
        if size <= SHORT:
            for f in range(size):
                terms[f] = term(f, arguments)
            for f in range(size, SHORT):
                terms[f] = np.float32(0)
            return sum_short(terms)
        result = np.float32(0)
        for start in range(0, size, MOST):
            count = min(MOST, size - start)
            for f in range(count):
                terms[f] = term(start + f, arguments)
            for f in range(count, (count + LANES - 1) // LANES * LANES):
                terms[f] = np.float32(0)
            result += sum_lanes(terms, (count + LANES - 1) // LANES)
        return result

    return total


_FLOAT = ir.FloatType()
_POINTER = types.CPointer(types.float32)


@intrinsic
def stack_floats(typing_context: Any) -> Any:
    """A pointer to memory for MOST float32 on the stack of the caller."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        size = ir.Constant(ir.IntType(64), MOST)
        pointer = cgutils.alloca_once(builder, _FLOAT, size=size)
        pointer.align = 64
        return pointer

    return _POINTER(), generate


@intrinsic
def sum_short(typing_context: Any, terms: Any) -> Any:
    """The sum of the first SHORT values, float32: as `sum_lanes` where all others are zero."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = _load(builder, arguments[0], ir.Constant(ir.IntType(64), 0), SHORT)
        return impl_ret_untracked(context, builder, signature.return_type, _halved(builder, vector, SHORT))

    return types.float32(terms), generate


@intrinsic
def sum_lanes(typing_context: Any, terms: Any, blocks: Any) -> Any:
    """The sum of blocks * LANES values, float32, in the order of `sum_of`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer, blocks = arguments
        vector = ir.VectorType(_FLOAT, LANES)
        sums = cgutils.alloca_once(builder, vector)
        builder.store(ir.Constant(vector, None), sums)
        with cgutils.for_range(builder, blocks) as loop:
            place = builder.mul(loop.index, ir.Constant(loop.index.type, LANES))
            builder.store(builder.fadd(builder.load(sums), _load(builder, pointer, place, LANES)), sums)
        total = _halved(builder, builder.load(sums), LANES)
        return impl_ret_untracked(context, builder, signature.return_type, total)

    return types.float32(terms, types.int64), generate


def _load(builder: Any, pointer: Any, place: Any, lanes: int) -> Any:
    """The float32 values from a place on, as a vector."""
    address = builder.bitcast(builder.gep(pointer, [place]), ir.VectorType(_FLOAT, lanes).as_pointer())
    return builder.load(address, align=4)


def _halved(builder: Any, vector: Any, lanes: int) -> Any:
    """The sum of all lanes: the upper half added to the lower one until one lane is left."""
    while lanes > 1:
        lanes //= 2
        low, high = (
            builder.shuffle_vector(vector, vector, ir.Constant(ir.VectorType(ir.IntType(32), lanes), list(places)))
            for places in (range(lanes), range(lanes, 2 * lanes))
        )
        vector = builder.fadd(low, high)
    return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))


@intrinsic
def dot(typing_context: Any, a: Any, i: Any, b: Any, j: Any, size: Any) -> Any:
    """The sum of a[i + f] * b[j + f] for f in 0..size - 1, all float32, as `sum_of` makes it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, i, b, j, size = arguments

        def product(x: Any, y: Any) -> Any:
            return builder.fmul(x, y)

        total = _sum_of_pairs(builder, builder.gep(a, [i]), builder.gep(b, [j]), size, product)
        return impl_ret_untracked(context, builder, signature.return_type, total)

    return types.float32(a, types.int64, b, types.int64, types.int64), generate


@intrinsic
def dot_passing(typing_context: Any, a: Any, i: Any, b: Any, j: Any, size: Any, weight: Any, grid: Any) -> Any:
    """As `dot`, of the elements where the gradient of weight * b[j + f] passes its rounding (`grids.passes`)."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, i, b, j, size, weight, grid = arguments
        inverse, _, zero_point, _, _, low, high = cgutils.unpack_tuple(builder, grid)

        def term(x: Any, y: Any) -> Any:
            def spread(value: Any) -> Any:
                return _spread(builder, value, SHORT)

            kind = ir.FunctionType(y.type, [y.type])
            rint = cgutils.get_or_insert_function(builder.module, kind, f"llvm.rint.v{SHORT}f32")
            place = builder.fmul(builder.fmul(spread(weight), y), spread(inverse))
            code = builder.fadd(builder.call(rint, [place]), spread(zero_point))
            not_below = builder.fcmp_unordered(">=", code, spread(low))
            not_above = builder.fcmp_unordered("<=", code, spread(high))
            inside = builder.and_(not_below, not_above)
            return builder.select(inside, builder.fmul(x, y), ir.Constant(y.type, None))

        total = _sum_of_pairs(builder, builder.gep(a, [i]), builder.gep(b, [j]), size, term)
        return impl_ret_untracked(context, builder, signature.return_type, total)

    return types.float32(a, types.int64, b, types.int64, types.int64, weight, grid), generate


def _sum_of_pairs(builder: Any, a: Any, b: Any, size: Any, term: Callable[[Any, Any], Any]) -> Any:
    """The sum of term(a[f], b[f]), where term(0, 0) is 0, in the order of `sum_of`; up to SHORT in one vector."""
    result = cgutils.alloca_once(builder, _FLOAT)
    with builder.if_else(builder.icmp_signed("<=", size, ir.Constant(size.type, SHORT))) as (then, otherwise):
        with then:
            start = ir.Constant(size.type, 0)
            vector = term(*(_load_first(builder, pointer, start, size) for pointer in (a, b)))
            builder.store(_halved(builder, vector, SHORT), result)
        with otherwise:
            builder.store(_sum_of_many(builder, a, b, size, term), result)
    return builder.load(result)


def _sum_of_many(builder: Any, a: Any, b: Any, size: Any, term: Callable[[Any, Any], Any]) -> Any:
    """The same for any size, in LANES / SHORT vectors: whole blocks of LANES, then what is left."""
    zero, partial = ir.Constant(ir.VectorType(_FLOAT, SHORT), None), []
    for _ in range(LANES // SHORT):
        partial.append(cgutils.alloca_once(builder, zero.type))
        builder.store(zero, partial[-1])
    blocks = builder.udiv(size, ir.Constant(size.type, LANES))
    with cgutils.for_range(builder, blocks) as loop:
        start = builder.mul(loop.index, ir.Constant(size.type, LANES))
        for part, sums in enumerate(partial):
            place = builder.add(start, ir.Constant(size.type, part * SHORT))
            value = term(*(_load(builder, pointer, place, SHORT) for pointer in (a, b)))
            builder.store(builder.fadd(builder.load(sums), value), sums)
    for part, sums in enumerate(partial):
        done = builder.mul(blocks, ir.Constant(size.type, LANES))
        place = builder.add(done, ir.Constant(size.type, part * SHORT))
        left = builder.sub(size, place)
        with builder.if_then(builder.icmp_signed(">", left, ir.Constant(size.type, 0))):
            value = term(*(_load_first(builder, pointer, place, left) for pointer in (a, b)))
            builder.store(builder.fadd(builder.load(sums), value), sums)
    first, second, third, fourth = map(builder.load, partial)
    return _halved(builder, builder.fadd(builder.fadd(first, third), builder.fadd(second, fourth)), SHORT)


def _load_first(builder: Any, pointer: Any, place: Any, count: Any) -> Any:
    """SHORT values from a place on, zeros behind the first `count`; reads no memory behind these."""
    vector, address = ir.VectorType(_FLOAT, SHORT), builder.gep(pointer, [place])
    address = builder.bitcast(address, vector.as_pointer())
    numbers = ir.Constant(ir.VectorType(count.type, SHORT), list(range(SHORT)))
    mask = builder.icmp_signed("<", numbers, _spread(builder, count, SHORT))
    alignment = ir.IntType(32)
    kind = ir.FunctionType(vector, [address.type, alignment, mask.type, vector])
    load = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.load.v{SHORT}f32.p0")
    return builder.call(load, [address, alignment(4), mask, ir.Constant(vector, None)])


def _spread(builder: Any, value: Any, lanes: int) -> Any:
    """A vector of lanes that all hold the value."""
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    places = ir.Constant(ir.VectorType(ir.IntType(32), lanes), None)
    return builder.shuffle_vector(first, undefined, places)
