"""Builds the inner loops of `aggregate` directly in LLVM IR: loops over `kernels.cpu.vector` would be slower.

Each loop is a numba intrinsic for fixed sizes: its sums stay in vector registers through the whole loop. LLVM maps
vectors of any width to the registers of the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

AHEAD = 128  # edges between the prefetch of a row and its use, for many parallel cache misses (16: twice the time)
LINE = 64  # bytes of a cache line

I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
F32, F64 = ir.FloatType(), ir.DoubleType()

Values = list[Any]  # of LLVM


class Builder:
    """The operations of the loops, on top of llvmlite's builder."""

    def __init__(self, context: Any, builder: Any, kinds: Any, args: Any) -> None:
        self.ir, self.context, self.kinds = builder, context, kinds
        values = cgutils.unpack_tuple(builder, args)
        self.args = [self._argument(kind, value) for kind, value in zip(kinds, values, strict=True)]

    def _argument(self, kind: Any, value: Any) -> Any:
        """A pointer unchanged, other values converted to int64 or float64."""
        if isinstance(kind, types.CPointer):
            return value
        return self.context.cast(self.ir, value, kind, types.float64 if isinstance(kind, types.Float) else types.int64)

    def call(self, name: str, result: Any, args: Values) -> Any:
        """Calls a function of LLVM."""
        kind = ir.FunctionType(result, [arg.type for arg in args])
        return self.ir.call(cgutils.get_or_insert_function(self.ir.module, kind, name), args)

    def at(self, pointer: Any, index: Any, kind: Any) -> Any:
        """The address of element `index` of an array, for elements or vectors of a type."""
        return self.ir.bitcast(self.ir.gep(pointer, [index]), kind.as_pointer())

    def load(self, pointer: Any, index: Any, kind: Any) -> Any:
        return self.ir.load(self.at(pointer, index, kind), align=1)

    def store(self, value: Any, pointer: Any, index: Any) -> None:
        self.ir.store(value, self.at(pointer, index, value.type), align=1)

    def splat(self, value: Any, lanes: int) -> Any:
        """A vector with the value in each lane."""
        undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
        first = self.ir.insert_element(undefined, value, I32(0))
        return self.ir.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))

    def loop(self, count: Any, values: Values, body: Callable[[Any, Values], Values]) -> Values:
        """The values after a loop that applies body(index, values) -> values for each index below count."""
        before, head = self.ir.block, self.ir.append_basic_block("head")
        done = self.ir.append_basic_block("done")
        self.ir.cbranch(self.ir.icmp_signed(">", count, I64(0)), head, done)
        self.ir.position_at_end(head)
        index, *carried = (self.ir.phi(value.type) for value in (I64(0), *values))
        results = body(index, carried)
        last, following = self.ir.block, self.ir.add(index, I64(1))
        self.ir.cbranch(self.ir.icmp_signed("<", following, count), head, done)
        for phi, start, result in zip([index, *carried], [I64(0), *values], [following, *results], strict=True):
            phi.add_incoming(start, before)
            phi.add_incoming(result, last)
        self.ir.position_at_end(done)
        finals = [self.ir.phi(value.type) for value in values]
        for phi, start, result in zip(finals, values, results, strict=True):
            phi.add_incoming(start, before)
            phi.add_incoming(result, last)
        return finals

    def row(self, col: Any, edge: Any, stride: Any, offset: Any) -> Any:
        """Position of the first byte of the row of an edge's source, plus an offset."""
        return self.ir.add(self.ir.mul(self.source(col, edge), stride), offset)

    def source(self, col: Any, edge: Any) -> Any:
        """The source of an edge; col: int32 or int64."""
        return self.ir.sext(self.ir.load(self.ir.gep(col, [edge])), I64)

    def planes(self, row: Any, planes: int) -> Values:
        """The codes of a vector of bytes with `planes` codes each: a vector per plane, the lowest bits first."""
        size, kind = 8 // planes, row.type
        mask = ir.Constant(kind, [(1 << size) - 1] * kind.count)
        parts = [self.ir.lshr(row, ir.Constant(kind, [size * i] * kind.count)) for i in range(planes)]
        return [self.ir.and_(part, mask) for part in parts]

    def lanes(self, value: Any, places: Sequence[int]) -> Any:
        """The lanes of a vector with these numbers."""
        chosen = ir.Constant(ir.VectorType(I32, len(places)), list(places))
        return self.ir.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), chosen)

    def bits(self, row: Any, beside: int) -> Values:
        """The bits of a vector of bytes as bytes, 0 or 1: the lowest bits first, `beside` planes in each vector."""
        count = row.type.count
        spread = self.lanes(row, list(range(count)) * beside)
        masks = [[1 << (plane + lane // count) for lane in range(count * beside)] for plane in range(0, 8, beside)]
        there = [self.ir.and_(spread, ir.Constant(spread.type, mask)) for mask in masks]
        return [self.ir.zext(self.ir.icmp_unsigned("!=", v, ir.Constant(v.type, None)), v.type) for v in there]

    def prefetch(self, x: Any, start: Any, num_bytes: int) -> None:
        """Prefetches the cache lines of a row."""
        for place in sorted({*range(0, num_bytes, LINE), num_bytes - 1}):
            address = self.at(x, self.ir.add(start, I64(place)), I8)
            self.call("llvm.prefetch.p0", ir.VoidType(), [address, I32(0), I32(3), I32(1)])

    def request(self, col: Any, edge: Any, limit: Any, stride: Any, offset: Any, x: Any, num_bytes: int) -> None:
        """Prefetches the row of the source of the edge `edge` + AHEAD, at most of edge `limit` - 1."""
        later = self.ir.add(edge, I64(AHEAD))
        later = self.ir.select(self.ir.icmp_signed("<", later, limit), later, self.ir.sub(limit, I64(1)))
        self.prefetch(x, self.row(col, later, stride, offset), num_bytes)


def zeros(kind: Any, lanes: int) -> Any:
    return ir.Constant(ir.VectorType(kind, lanes), [0] * lanes)


def make(emit: Callable[..., None], *sizes: Any) -> Any:
    """An intrinsic without result, with one argument: a tuple of pointers and numbers.

    emit(builder, *sizes) generates its loop.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit(Builder(context, builder, signature.args[0], args[0]), *sizes)
        return context.get_dummy_value()

    @intrinsic
    def loop(_context: Any, args: Any) -> Any:
        return types.void(args), codegen

    return loop
