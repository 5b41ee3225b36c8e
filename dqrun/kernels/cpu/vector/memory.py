"""Loads and stores of vectors, through pointers or flat arrays; a place is an index of their elements, of any type."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from dqrun.kernels.cpu.linked import intrinsic
from dqrun.kernels.cpu.vector.kinds import Vector
from dqrun.kernels.cpu.vector.llvm import I1, I8, I32, I64, address, call, spread


def _vector_at(context: Any, builder: Any, signature: Any, args: Any, which: int, kind: Vector) -> Any:
    place = address(context, builder, signature, args, which)
    return builder.bitcast(place, kind.llvm.as_pointer())


def _first(builder: Any, count: Any, lanes: int) -> Any:
    """The mask of the first `count` lanes."""
    places = ir.Constant(ir.VectorType(I64, lanes), list(range(lanes)))
    return builder.icmp_signed("<", places, spread(builder, count, lanes))


@intrinsic
def load(_context: Any, kind: Any, source: Any, place: Any) -> Any:
    """The vector of a kind whose first lane is source[place]; any alignment."""
    vector = kind.instance_type

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_vector_at(context, builder, signature, args, 1, vector), align=1)

    return vector(kind, source, types.int64), generate


@intrinsic
def store(_context: Any, target: Any, place: Any, value: Any) -> Any:
    """Stores the lanes of the value at target[place] and after it; any alignment."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _vector_at(context, builder, signature, args, 0, value), align=1)
        return context.get_dummy_value()

    return types.void(target, types.int64, value), generate


@intrinsic(prefer_literal=True)
def repeat(_context: Any, kind: Any, source: Any, place: Any, count: Any) -> Any:
    """source[place..place + count], repeated to fill the lanes of a kind; count: a constant, 1, 2, 4 or 8."""
    vector = kind.instance_type
    if not isinstance(count, types.IntegerLiteral):
        return None
    size = count.literal_value

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        one = ir.IntType(vector.bits * size)
        at = builder.bitcast(address(context, builder, signature, args, 1), one.as_pointer())
        return builder.bitcast(spread(builder, builder.load(at, align=1), vector.lanes // size), vector.llvm)

    return vector(kind, source, types.int64, count), generate


@intrinsic
def load_first(_context: Any, kind: Any, source: Any, place: Any, count: Any) -> Any:
    """As `load`, but only the first `count` >= 1 lanes are read; the others are 0."""
    vector = kind.instance_type

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at, zero = _vector_at(context, builder, signature, args, 1, vector), ir.Constant(vector.llvm, None)
        result = cgutils.alloca_once(builder, vector.llvm)
        with builder.if_else(builder.icmp_signed(">=", args[3], I64(vector.lanes))) as (whole, some):
            with whole:
                builder.store(builder.load(at, align=1), result)
            with some:
                given = [at, I32(1), _first(builder, args[3], vector.lanes), zero]
                builder.store(call(builder, f"llvm.masked.load.{vector.suffix}.p0", vector.llvm, given), result)
        return builder.load(result)

    return vector(kind, source, types.int64, types.int64), generate


@intrinsic
def store_first(_context: Any, target: Any, place: Any, value: Any, count: Any) -> Any:
    """As `store`, but only the first `count` >= 1 lanes are written."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = _vector_at(context, builder, signature, args, 0, value)
        with builder.if_else(builder.icmp_signed(">=", args[3], I64(value.lanes))) as (whole, some):
            with whole:
                builder.store(args[2], at, align=1)
            with some:
                given = [args[2], at, I32(1), _first(builder, args[3], value.lanes)]
                call(builder, f"llvm.masked.store.{value.suffix}.p0", ir.VoidType(), given)
        return context.get_dummy_value()

    return types.void(target, types.int64, value, types.int64), generate


@intrinsic
def gather(_context: Any, kind: Any, source: Any, places: Any) -> Any:
    """The vector of source[places[i]]; `places`: a vector of integers, read as signed, with as many lanes."""
    vector = kind.instance_type

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        start = address(context, builder, signature, [None, args[1], I64(0)], 1)
        wide = builder.sext(args[2], places.of(types.int64).llvm) if places.bits < 64 else args[2]
        everywhere = ir.Constant(ir.VectorType(I1, vector.lanes), [1] * vector.lanes)
        result = ir.Constant(vector.llvm, ir.Undefined)
        first = spread(builder, builder.ptrtoint(start, I64), vector.lanes)
        sizes = ir.Constant(wide.type, [context.get_abi_sizeof(start.type.pointee)] * vector.lanes)
        addresses = builder.add(first, builder.mul(wide, sizes))
        pointers = builder.inttoptr(addresses, ir.VectorType(start.type, vector.lanes))
        name = f"llvm.masked.gather.{vector.suffix}.v{vector.lanes}p0{vector.suffix}"
        return call(builder, name, vector.llvm, [pointers, I32(1), everywhere, result])

    return vector(kind, source, places), generate


@intrinsic
def prefetch(_context: Any, source: Any, place: Any) -> Any:
    """Prefetches the cache line of source[place]; the address may be invalid."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = builder.bitcast(address(context, builder, signature, args, 0), I8.as_pointer())
        call(builder, "llvm.prefetch.p0", ir.VoidType(), [at, I32(0), I32(3), I32(1)])
        return context.get_dummy_value()

    return types.void(source, types.int64), generate


@intrinsic(prefer_literal=True)
def registers(_context: Any, kind: Any, count: Any) -> Any:
    """A pointer to `count` (a constant) uninitialised vectors.

    They become registers if all indices are known after loops are unrolled: each loop over them must have a constant
    number of iterations.
    """
    vector = kind.instance_type
    if not isinstance(count, types.IntegerLiteral):
        return None
    size = count.literal_value

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return cgutils.alloca_once(builder, vector.llvm, size=I64(size))

    return types.CPointer(vector)(kind, count), generate
