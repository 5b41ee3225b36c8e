"""Flags as bits of 32-bit words, as vector instructions that the compiler does not find in a loop by itself.

Written as LLVM vectors of 32 lanes, which any processor can run; one with masks for vector lanes (AVX-512) does so in
a few instructions.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core.imputils import impl_ret_untracked

from dqrun.kernels.cpu.launch import intrinsic

WORD = 32  # flags of one word
_WORD = ir.IntType(WORD)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, start: Any, lane: Any) -> Any:
    """The address of array[start] as that of a vector of 32 lanes; of an array or a pointer."""
    is_pointer = isinstance(array_type, types.CPointer)
    data = array if is_pointer else context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [start]), ir.VectorType(lane, WORD).as_pointer())


def _spread(builder: Any, value: Any) -> Any:
    """A vector of 32 lanes that all hold the value."""
    undefined = ir.Constant(ir.VectorType(value.type, WORD), ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(_WORD, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_WORD, WORD), None))


@intrinsic
def pack(typing_context: Any, flags: Any, start: Any) -> Any:
    """flags[start:start + 32], uint8 zero or not, as the bits of a uint32, the first as the lowest."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        flags, start = arguments
        pointer = _pointer(context, builder, signature.args[0], flags, start, ir.IntType(8))
        vector = builder.load(pointer, align=1)
        word = builder.bitcast(builder.icmp_unsigned("!=", vector, ir.Constant(vector.type, None)), _WORD)
        return impl_ret_untracked(context, builder, signature.return_type, word)

    return types.uint32(flags, types.int64), generate


@intrinsic
def where_set(typing_context: Any, x: Any, y: Any, start: Any, word: Any) -> Any:
    """y[start:start + 32] = x there (both float32) where the bit of word is set, else 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x, y, start, word = arguments
        # each lane's bit, moved to the sign and spread over the lane: of a choice by flags the compiler makes a masked
        # load, which the prefetcher of some processors doesn't see (Zen 5: twice the time of the pass)
        lanes = ir.VectorType(_WORD, WORD)
        places = ir.Constant(lanes, [WORD - 1 - lane for lane in range(WORD)])
        signs = builder.shl(_spread(builder, word), places)
        mask = builder.ashr(signs, ir.Constant(lanes, [WORD - 1] * WORD))
        vector = builder.load(_pointer(context, builder, signature.args[0], x, start, _WORD), align=4)
        chosen = builder.bitcast(builder.and_(vector, mask), ir.VectorType(ir.FloatType(), WORD))
        builder.store(chosen, _pointer(context, builder, signature.args[1], y, start, ir.FloatType()), align=4)
        return context.get_dummy_value()

    return types.void(x, y, types.int64, types.uint32), generate


def _comparison(operator: str) -> Any:
    @intrinsic
    def compare(typing_context: Any, x: Any, start: Any, factor: Any, bound: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            x, start, factor, bound = arguments
            vector = builder.load(_pointer(context, builder, signature.args[0], x, start, ir.FloatType()), align=4)
            products = builder.fmul(vector, _spread(builder, factor))
            flags = builder.fcmp_ordered(operator, products, _spread(builder, bound))
            return impl_ret_untracked(context, builder, signature.return_type, builder.bitcast(flags, _WORD))

        return types.uint32(x, types.int64, types.float32, types.float32), generate

    return compare


# which of the 32 products factor * x[start + i] (float32) are so, as the bits of a uint32
below, above, equal = _comparison("<"), _comparison(">"), _comparison("==")


@intrinsic
def lowest(typing_context: Any, word: Any) -> Any:
    """The place of the lowest bit that is set, int64; the word must not be 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.zext(builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1)), ir.IntType(64))

    return types.int64(types.uint32), generate


@intrinsic
def count(typing_context: Any, word: Any) -> Any:
    """How many bits are set, int64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.zext(builder.ctpop(arguments[0]), ir.IntType(64))

    return types.int64(types.uint32), generate
