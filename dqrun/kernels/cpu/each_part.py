"""`each_part`: calls a function for each part of the work, with a kernel's arguments.

numba compiles its own parallel loops (`prange`) three times: inside their function, as a separate function, and inside
the caller of that one. Here a kernel writes its arguments to its stack, and all kernels share one loop,
`routine.run_parts`, which calls a function by its address for each part, with the address of the arguments.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from dqrun.kernels.cpu.linked import intrinsic

WORD = ir.IntType(64)
_Tuple: Any = types.BaseTuple  # untyped in numba


@intrinsic
def each_part(typing: Any, function: Any, runner: Any, num_parts: Any, values: Any) -> Any:
    """function(part, num_parts, *values) for each part; runner: the address of `run_parts` or `run_in_turn`.

    Raises MemoryError if a part raises: only its allocations can fail. The caller owns the arrays among the values, so
    that numba does not count references to them while the parts run.
    """
    signature = function.get_call_type(typing, (types.int64, types.int64, *values), {})

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        _, runner, count, given = args
        kinds = [WORD, *map(context.get_value_type, values)]
        memory = cgutils.alloca_once(builder, ir.LiteralStructType(kinds))
        failed = cgutils.gep_inbounds(builder, memory, 0, 0)
        builder.store(WORD(0), failed)
        for i, (kind, value) in enumerate(zip(values, cgutils.unpack_tuple(builder, given), strict=True), 1):
            builder.store(_lent(context, builder, kind, value), cgutils.gep_inbounds(builder, memory, 0, i))
        called = _called(context, builder, function, signature, memory.type)
        runs = ir.FunctionType(ir.VoidType(), [WORD] * 3)
        addresses = [builder.ptrtoint(called, WORD), count, builder.ptrtoint(memory, WORD)]
        builder.call(builder.inttoptr(runner, runs.as_pointer()), addresses)
        with builder.if_then(builder.icmp_signed("!=", builder.load(failed), WORD(0)), likely=False):
            context.call_conv.return_user_exc(builder, MemoryError, ("a kernel found no memory",))
        return context.get_dummy_value()

    return types.void(function, types.int64, types.int64, values), generate


def _called(context: Any, builder: Any, function: Any, signature: Any, memory: Any) -> Any:
    """A new function of LLVM's, (part, number of parts, address of the arguments) without result."""
    compiled = function.dispatcher.get_compile_result(signature)
    context.active_code_library.add_linking_library(compiled.library)
    kind, name = ir.FunctionType(ir.VoidType(), [WORD] * 3), f"{builder.function.name}.part"
    called = ir.Function(builder.module, kind, name)
    called.linkage = "internal"
    inside = ir.IRBuilder(called.append_basic_block("entry"))
    part, num_parts, address = called.args
    place = inside.inttoptr(address, memory)
    fields = range(1, len(memory.pointee.elements))
    given = [inside.load(cgutils.gep_inbounds(inside, place, 0, i)) for i in fields]
    status, _ = context.call_internal_no_propagate(inside, compiled.fndesc, signature, [part, num_parts, *given])
    with inside.if_then(status.is_error, likely=False):
        inside.store(WORD(1), cgutils.gep_inbounds(inside, place, 0, 0))
    inside.ret_void()
    return called


def _lent(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """The value with arrays without owner, so that numba does not count references to them."""
    if isinstance(kind, _Tuple):
        parts = zip(kind, cgutils.unpack_tuple(builder, value), strict=True)
        return context.make_tuple(builder, kind, [_lent(context, builder, *part) for part in parts])
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        array.meminfo = cgutils.get_null_value(array.meminfo.type)
        array.parent = cgutils.get_null_value(array.parent.type)
        return array._getvalue()
    return value
