"""Functions that are compiled as a part of the kernels that call them, and of nothing else.

numba optimises every function on its own, compiles it to machine code and adds a wrapper for calls from Python. An
inlined function needs none of these, which took a quarter of the time of a kernel's compilation: it is optimised with
its callers.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numba.extending
from numba import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler

F = TypeVar("F", bound=Callable[..., Any])
intrinsic: Any = numba.extending.intrinsic  # its type in numba tells nothing of the function that it makes
_Library: Any = JITCodeLibrary  # untyped in numba
_Compiler: Any = Compiler
_unliteral: Any = types.unliteral
_WRAPPERS: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


class _Untranslated(_Library):  # type: ignore[misc]
    """A function in LLVM's language; `optimised`: as far as it goes without its callers."""

    optimised = False

    def finalize(self) -> None:
        self._raise_if_finalized()
        for library in dict.fromkeys(self._linking_libraries):
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        if self.optimised:
            self._optimize_functions(self._final_module)
            self._optimize_final_module()
        self._finalize_dynamic_globals()
        self._finalized = True


class Uncollected(_Compiler):  # type: ignore[misc]
    """numba's compiler with Python's garbage collection switched off, which took a tenth of its time."""

    def compile_extra(self, function: Any) -> Any:
        enabled = gc.isenabled()
        gc.disable()
        try:
            return super().compile_extra(function)
        finally:
            if enabled:
                gc.enable()


class _ToLLVM(Uncollected):
    """numba's compiler, without machine code."""

    optimised = False

    def __init__(self, typing: Any, target: Any, _library: None, args: Any, result: Any, flags: Any, locals: Any):
        flags.no_compile = True
        library = _Untranslated(target.codegen(), "linked")
        library.optimised = self.optimised
        super().__init__(typing, target, library, args, result, flags, locals)


class _ToOptimised(_ToLLVM):
    optimised = True


def linked(function: F, compiler: type[_ToLLVM] = _ToLLVM) -> F:
    """The function for use in compiled code: each call becomes the function's own instructions."""
    options: dict[str, Any] = {"error_model": "numpy", "forceinline": True, **_WRAPPERS}
    compiled: Any = numba.njit(pipeline_class=compiler, **options)(function)

    typed = compiled.get_call_template

    def get_call_template(args: Any, names: Any) -> Any:
        """As the dispatcher's own, but for types alone: numba would compile the function again for each constant."""
        return typed([_unliteral(kind) for kind in args], names)

    def add_overload(result: Any) -> None:
        """As the dispatcher's own, for a result that Python cannot call: callers find it by a key of its own."""
        key = object()
        compiled.targetctx.insert_user_function(key, result.fndesc, [result.library])
        compiled.overloads[tuple(result.signature.args)] = result._replace(entry_point=key)

    compiled.get_call_template, compiled.add_overload = get_call_template, add_overload
    return cast(F, compiled)


def linked_loop(function: F) -> F:
    """As `linked`, for a loop for which LLVM makes better code before inlining."""
    return linked(function, _ToOptimised)
