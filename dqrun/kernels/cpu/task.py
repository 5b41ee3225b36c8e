"""Kernels that get a part of the work and a `Structure` of arguments, compiled once each.

A task is called by its address from one parallel loop that all tasks share, and what tasks have in common is a
`routine` that they call by its address: both are compiled once per installation, not once per kernel that uses them.
Tasks allocate nothing: they get their scratch memory.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.core.ccallback import CFunc
from torch import Tensor

from dqrun.kernels.cpu.cache import MendingCache
from dqrun.kernels.cpu.launch import driver, intrinsic, region
from dqrun.kernels.cpu.structure import Packed, Structure

LINE = 64  # bytes of a cache line


class Routine:
    """A function that compiled code calls by its address; compiled, or read from the cache, when that is asked for."""

    def __init__(self, function: Callable[..., None], kinds: tuple[Any, ...]) -> None:
        self._function, self._kinds = function, kinds
        self._compiled: Any = None

    @property
    def address(self) -> int:
        if self._compiled is None:
            self._compiled = self._compile()
        return int(self._compiled.address)

    def _compile(self) -> Any:
        signature: Any = types.void(*self._kinds)
        compiled: Any = CFunc(self._function, (signature.args, signature.return_type), {}, {"error_model": "numpy"})
        with suppress(RuntimeError):  # numba found no writable cache folder
            compiled._cache = MendingCache(self._function)
        compiled.compile()
        return compiled


def routine(*kinds: Any) -> Callable[[Callable[..., None]], Routine]:
    """Of a function without result whose arguments have these types; `call` calls it."""
    return lambda function: Routine(function, kinds)


class Task(Routine):
    """A function of (part, number of parts, arguments) without result."""

    def run(self, num_parts: int, arguments: Packed) -> None:
        """All parts, each on a thread of its own."""
        _run(self.address, num_parts, arguments.address)


def task(arguments: Structure) -> Callable[[Callable[[int, int, Any], None]], Task]:
    """Of a function whose third argument is a pointer to this structure."""
    return lambda function: Task(function, (types.int64, types.int64, arguments))


@intrinsic
def call(_context: Any, address: Any, values: Any) -> Any:
    """Calls the routine at an address with a tuple of pointers and numbers; integers are made int64."""
    kinds = [types.int64 if isinstance(kind, types.Integer) else kind for kind in values]

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        given = [
            context.cast(builder, value, have, want)
            for value, have, want in zip(cgutils.unpack_tuple(builder, args[1]), values, kinds, strict=True)
        ]
        function = ir.FunctionType(ir.VoidType(), [value.type for value in given])
        builder.call(builder.inttoptr(args[0], function.as_pointer()), given)
        return context.get_dummy_value()

    return types.void(types.int64, values), generate


@intrinsic
def advance(_context: Any, pointer: Any, places: Any) -> Any:
    """The pointer to pointer[places]."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.gep(args[0], [args[1]])

    return pointer(pointer, types.int64), generate


@intrinsic
def view(_context: Any, kind: Any, pointer: Any) -> Any:
    """The same address as a pointer to numbers as the lanes of a kind of vectors are."""
    result: Any = types.CPointer(kind.instance_type.dtype)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[1], context.get_value_type(result))

    return result(kind, pointer), generate


@driver
def _run(address: int, num_parts: int, arguments: int) -> None:
    run_parts(address, num_parts, arguments)


@region
def run_parts(address: int, num_parts: int, arguments: int) -> None:
    """All parts of the task at an address, for kernels; arguments: the address of its structure."""
    if num_parts == 1:
        call(address, (0, num_parts, arguments))
    else:
        for part in prange(num_parts):
            call(address, (part, num_parts, arguments))


def scratch_bytes(num_parts: int, size: int) -> tuple[Tensor, int]:
    """Memory for all parts, uint8, and the bytes between parts: `size` rounded up to whole cache lines."""
    each = (size + LINE - 1) // LINE * LINE + LINE
    return torch.empty(num_parts * each, dtype=torch.uint8), each
