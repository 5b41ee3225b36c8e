"""Functions that are compiled as a part of the kernels that call them, and of nothing else.

numba optimises every function on its own, makes machine code of it and a way to call it from Python. A function that
becomes a part of its callers needs none of these: its callers are optimised with it. This halves the time of their
compilation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler

F = TypeVar("F", bound=Callable[..., Any])
_Library: Any = JITCodeLibrary  # untyped in numba
_Compiler: Any = Compiler
_WRAPPERS: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


class _Unfinished(_Library):  # type: ignore[misc]
    """A function in LLVM's language, neither optimised nor translated."""

    def add_llvm_module(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout
        self._final_module.link_in(module)

    def finalize(self) -> None:
        self._raise_if_finalized()
        for library in dict.fromkeys(self._linking_libraries):
            self._reload_init.update(library._reload_init)
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._finalize_dynamic_globals()
        self._finalized = True


class _ToLLVM(_Compiler):  # type: ignore[misc]
    """numba's compiler, into an `_Unfinished` library."""

    def __init__(self, typing: Any, target: Any, _library: None, args: Any, result: Any, flags: Any, locals: Any):
        flags.no_compile = True
        library = _Unfinished(target.codegen(), "linked")
        super().__init__(typing, target, library, args, result, flags, locals)


def linked(function: F) -> F:
    """The function for use in compiled code: each call becomes the function's own instructions."""
    options: dict[str, Any] = {"error_model": "numpy", "forceinline": True, **_WRAPPERS}
    compiled: Any = numba.njit(pipeline_class=_ToLLVM, **options)(function)

    def add_overload(result: Any) -> None:
        """As the dispatcher's own, for a result that Python cannot call: callers find it by a key of its own."""
        key = object()
        compiled.targetctx.insert_user_function(key, result.fndesc, [result.library])
        compiled.overloads[tuple(result.signature.args)] = result._replace(entry_point=key)

    compiled.add_overload = add_overload
    return cast(F, compiled)
