"""Arrays as plain pointers, for the loops of kernels."""

from __future__ import annotations

from typing import Any

from numba.core import cgutils, types

from dqrun.kernels.cpu.linked import intrinsic


def _pointer_kind(kind: Any) -> Any:
    return types.CPointer(kind.dtype) if isinstance(kind, types.Array) else kind


@intrinsic
def pointers(_context: Any, values: Any) -> Any:
    """A tuple with a pointer to its first element in place of each array.

    numba counts references to arrays, in memory that all threads share, whenever they are put in a tuple; it does not
    for pointers. In loops this took more time than all arithmetic. Use `hold` to keep the arrays alive meanwhile.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args[0]
        results = [
            context.make_array(kind)(context, builder, value).data if isinstance(kind, types.Array) else value
            for kind, value in zip(kinds, cgutils.unpack_tuple(builder, args[0]), strict=True)
        ]
        return context.make_tuple(builder, signature.return_type, results)

    return types.Tuple([_pointer_kind(kind) for kind in values])(values), codegen


@intrinsic
def hold(_context: Any, arrays: Any) -> Any:
    """Keeps the arrays of a tuple alive up to here."""

    def codegen(context: Any, _builder: Any, _signature: Any, _args: Any) -> Any:
        return context.get_dummy_value()

    return types.void(arrays), codegen
