"""Kernels that get a part of the work and a `Structure` of arguments, compiled once each.

One parallel loop, shared by all tasks, calls a task by its address; code common to several tasks is a `routine` that
they call by its address. Both are compiled once per installation, not once per kernel that uses them. Tasks allocate
nothing: the caller provides scratch memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from numba import types
from torch import Tensor

from dqrun.kernels.cpu.launch import driver
from dqrun.kernels.cpu.linked import intrinsic
from dqrun.kernels.cpu.routine import Routine, call, runner
from dqrun.kernels.cpu.structure import Packed, Structure

LINE = 64  # bytes of a cache line


class Task(Routine):
    """A function of (part, number of parts, arguments) without result."""

    def run(self, num_parts: int, arguments: Packed) -> None:
        """Runs all parts, each on a thread of its own."""
        _run(runner(num_parts), self.address, num_parts, arguments.address)


def task(arguments: Structure) -> Callable[[Callable[[int, int, Any], None]], Task]:
    """Decorator for a function (part, number of parts, pointer to this structure)."""
    return lambda function: Task(function, (types.int64, types.int64, arguments))


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
def _run(loop: int, address: int, num_parts: int, arguments: int) -> None:
    call(loop, (address, num_parts, arguments))


def scratch_bytes(num_parts: int, size: int) -> tuple[Tensor, int]:
    """Memory for all parts, uint8, and the bytes between parts: `size` rounded up to whole cache lines."""
    each = (size + LINE - 1) // LINE * LINE + LINE
    return torch.empty(num_parts * each, dtype=torch.uint8), each
