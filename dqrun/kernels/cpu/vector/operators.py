"""Python's operators for two vectors, and for a vector and a number, which is used in each lane."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global

from dqrun.kernels.cpu.vector.arithmetic import common, compare, vectors
from dqrun.kernels.cpu.vector.kinds import Vector

Emit = Callable[[Any, Vector, Any, Any], Any]  # builder, kind and two vectors of LLVM to a third one
_Template: Any = AbstractTemplate  # untyped in numba


def _arithmetic(name: str) -> Emit:
    def emit(builder: Any, kind: Vector, v: Any, w: Any) -> Any:
        return getattr(builder, f"f{name}" if kind.is_float else name)(v, w)

    return emit


def _bitwise(name: str) -> Emit:
    def emit(builder: Any, kind: Vector, v: Any, w: Any) -> Any:
        assert not kind.is_float, f"{kind} has no bits to combine: see cast_bits"
        return getattr(builder, name)(v, w)

    return emit


def _shifted_right(builder: Any, kind: Vector, v: Any, w: Any) -> Any:
    return builder.ashr(v, w) if kind.is_signed else builder.lshr(v, w)


def _divided(builder: Any, kind: Vector, v: Any, w: Any) -> Any:
    assert kind.is_float, f"{kind} has no division: its lanes are integers"
    return builder.fdiv(v, w)


BINARY: dict[Any, Emit] = {
    operator.add: _arithmetic("add"),
    operator.sub: _arithmetic("sub"),
    operator.mul: _arithmetic("mul"),
    operator.truediv: _divided,
    operator.and_: _bitwise("and_"),
    operator.or_: _bitwise("or_"),
    operator.xor: _bitwise("xor"),
    operator.lshift: _bitwise("shl"),
    operator.rshift: _shifted_right,
}
IN_PLACE = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
    operator.iand: operator.and_,
    operator.ior: operator.or_,
    operator.ixor: operator.xor,
    operator.ilshift: operator.lshift,
    operator.irshift: operator.rshift,
}
COMPARISONS = {
    operator.lt: "<",
    operator.le: "<=",
    operator.gt: ">",
    operator.ge: ">=",
    operator.eq: "==",
    operator.ne: "!=",
}


def _register_binary(function: Any, emit: Emit, is_comparison: bool) -> None:
    """Registers the types and the code of an operator with numba."""

    class OfVectors(_Template):  # type: ignore[misc]
        def generic(self, args: Any, kws: Any) -> Any:
            numbers = all(isinstance(arg, (Vector, types.Number, types.Boolean)) for arg in args)
            if len(args) != 2 or not numbers or not any(isinstance(arg, Vector) for arg in args):
                return None
            kind, wanted = common(args)
            return (kind.of(types.boolean) if is_comparison else kind)(*wanted)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind, _ = common(signature.args)
        return emit(builder, kind, *vectors(builder, args, signature.args))

    infer_global(function)(OfVectors)
    for kinds in ((Vector, Vector), (Vector, types.Any), (types.Any, Vector)):
        lower_builtin(function, *kinds)(generate)


def _register_unary(function: Any, emit: Callable[[Any, Vector, Any], Any]) -> None:
    class OfVector(_Template):  # type: ignore[misc]
        def generic(self, args: Any, kws: Any) -> Any:
            return args[0](args[0]) if isinstance(args[0], Vector) else None

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return emit(builder, signature.args[0], args[0])

    infer_global(function)(OfVector)
    lower_builtin(function, Vector)(generate)


def _negated(builder: Any, kind: Vector, v: Any) -> Any:
    return builder.fneg(v) if kind.is_float else builder.sub(ir.Constant(kind.llvm, None), v)


def _compared(sign: str, builder: Any, kind: Vector, v: Any, w: Any) -> Any:
    return compare(builder, kind, sign, v, w)


def register_operators() -> None:
    """Registers all operators with numba; called once, when the package is imported."""
    for function, emit in BINARY.items():
        _register_binary(function, emit, is_comparison=False)
    for function, plain in IN_PLACE.items():
        _register_binary(function, BINARY[plain], is_comparison=False)
    for function, sign in COMPARISONS.items():
        _register_binary(function, partial(_compared, sign), is_comparison=True)
    _register_unary(operator.neg, _negated)
    _register_unary(operator.invert, lambda builder, kind, v: builder.not_(v))
