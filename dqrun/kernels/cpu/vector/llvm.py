"""Helpers for functions of vectors that generate LLVM code."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

I1, I8, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 32, 64))


def call(builder: Any, name: str, result: Any, args: Any) -> Any:
    """Calls an LLVM intrinsic function with vectors and numbers."""
    kind = ir.FunctionType(result, [arg.type for arg in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


def spread(builder: Any, value: Any, lanes: int) -> Any:
    """A vector with the value in each lane."""
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, value, I32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))


def shuffled(builder: Any, v: Any, w: Any, places: list[int]) -> Any:
    """The lanes with the indices `places` of v followed by w."""
    return builder.shuffle_vector(v, w, ir.Constant(ir.VectorType(I32, len(places)), places))


def number(context: Any, builder: Any, value: Any, kind: Any, wanted: Any) -> Any:
    """A number, converted from the type `kind` to `wanted`; booleans have one bit."""
    return context.cast(builder, value, kind, wanted)


def address(context: Any, builder: Any, signature: Any, args: Any, which: int) -> Any:
    """The address of the element args[which + 1] of args[which], an array or a pointer."""
    kind, place = signature.args[which], args[which + 1]
    is_pointer = isinstance(kind, types.CPointer)
    data = args[which] if is_pointer else context.make_array(kind)(context, builder, args[which]).data
    return builder.gep(data, [place])
