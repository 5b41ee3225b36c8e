"""Conversions of numbers to vectors, and of vectors to another kind."""

from __future__ import annotations

from typing import Any

from dqrun.kernels.cpu.linked import intrinsic
from dqrun.kernels.cpu.vector.kinds import Vector
from dqrun.kernels.cpu.vector.llvm import spread


@intrinsic
def splat(_context: Any, kind: Any, value: Any) -> Any:
    """A vector of a kind with the number, converted to the type of the lanes, in each lane."""
    vector = kind.instance_type

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return spread(builder, args[1], vector.lanes)

    return vector(kind, vector.dtype), generate


@intrinsic
def convert(_context: Any, kind: Any, value: Any) -> Any:
    """Converts the lanes of a vector to another type.

    Wider integers are sign-extended if the given lanes are signed, else zero-extended; narrower ones are taken modulo
    2^bits. Floats are rounded to integers towards zero, and must be in range; to narrower floats half to even.
    """
    vector = kind.instance_type
    assert vector.lanes == value.lanes, f"{vector} has not the lanes of {value}"

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _converted(builder, args[1], value, vector)

    return vector(kind, value), generate


def _converted(builder: Any, v: Any, have: Vector, want: Vector) -> Any:
    if have.is_float and want.is_float:
        same, wider = have.bits == want.bits, want.bits > have.bits
        return v if same else builder.fpext(v, want.llvm) if wider else builder.fptrunc(v, want.llvm)
    if have.is_float:
        return builder.fptosi(v, want.llvm) if want.is_signed else builder.fptoui(v, want.llvm)
    if want.is_float:
        return builder.sitofp(v, want.llvm) if have.is_signed else builder.uitofp(v, want.llvm)
    if want.bits <= have.bits:
        return v if want.bits == have.bits else builder.trunc(v, want.llvm)
    return builder.sext(v, want.llvm) if have.is_signed else builder.zext(v, want.llvm)


@intrinsic
def cast_bits(_context: Any, kind: Any, value: Any) -> Any:
    """The bits of a vector, read as a kind of the same size; the first lanes are the lowest bits."""
    vector = kind.instance_type
    assert vector.lanes * vector.bits == value.lanes * value.bits, f"{vector} has not the size of {value}"

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[1], vector.llvm)

    return vector(kind, value), generate
