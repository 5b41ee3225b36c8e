"""Functions that compiled code calls by their addresses, and the loop that runs one for each part of the work.

A `routine` is compiled once per installation, not once per kernel that calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.core.ccallback import CFunc

from dqrun.kernels.cpu.cache import MendingCache
from dqrun.kernels.cpu.linked import Uncollected, intrinsic


class Routine:
    """A function that compiled code calls by its address; compiled, or read from the cache, at the first use."""

    def __init__(self, function: Callable[..., None], kinds: tuple[Any, ...], parallel: bool = False) -> None:
        self._function, self._kinds, self._parallel = function, kinds, parallel
        self._compiled: Any = None

    @property
    def address(self) -> int:
        if self._compiled is None:
            self._compiled = self._compile()
        return int(self._compiled.address)

    def _compile(self) -> Any:
        signature: Any = types.void(*self._kinds)
        options = {"error_model": "numpy", "parallel": self._parallel}
        compiled: Any = CFunc(self._function, (signature.args, signature.return_type), {}, options, Uncollected)
        with suppress(RuntimeError):  # numba found no writable cache folder
            compiled._cache = MendingCache(self._function)
        compiled.compile()
        return compiled


def routine(*kinds: Any, parallel: bool = False) -> Callable[[Callable[..., None]], Routine]:
    """Decorator for a function without result whose arguments have the types `kinds`; `call` calls it.

    parallel: whether it has parallel loops.
    """
    return lambda function: Routine(function, kinds, parallel)


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


@routine(types.int64, types.int64, types.int64, parallel=True)
def run_parts(address: int, num_parts: int, arguments: int) -> None:
    """Calls the routine at an address with (part, number of parts, address of arguments), each part on a thread."""
    for part in prange(num_parts):
        call(address, (part, num_parts, arguments))


@routine(types.int64, types.int64, types.int64)
def run_in_turn(address: int, num_parts: int, arguments: int) -> None:
    """As `run_parts`, one part after the other, without numba's threads."""
    for part in range(num_parts):
        call(address, (part, num_parts, arguments))


def runner(num_parts: int) -> int:
    """The address of the loop over the parts of a kernel whose work has `num_parts`: without threads for one."""
    return run_in_turn.address if num_parts == 1 else run_parts.address
