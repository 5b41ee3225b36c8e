"""Chooses the version of an operator: its definition in plain torch, or the compiled one if it works."""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from dqrun.errors import ConfigError


class Ran:
    """Which versions of operators ran; calls for data without a compiled version, such as float64, do not count."""

    def __init__(self) -> None:
        self.versions: set[str] = set()

    @property
    def name(self) -> str:
        """ "cpu" (compiled), "reference", "mixed", or "" where no operator ran."""
        return "mixed" if len(self.versions) > 1 else "".join(self.versions)


@dataclass(frozen=True, eq=False)  # one object each: quick to look up
class Backend:
    """Compiled versions for a type of device: a module with a function of the same name for each compiled operator.

    The module is imported at an operator's first call on such a device. Its function `check` compiles and runs one
    kernel. `dtypes`: of an operator's first argument; for other types the definition runs. `made_by`: the compiler.
    """

    device: str
    module: str
    dtypes: tuple[torch.dtype, ...]
    made_by: str

    def takes(self, x: Tensor) -> bool:
        """Whether compiled versions accept x, an operator's first argument, by its device and dtype."""
        return x.device.type == self.device and x.dtype in self.dtypes


CHOICES = ("auto", "reference", "cpu")
FLOATING = (Backend("cpu", "dqrun.kernels.cpu", (torch.float32,), "numba"),)
"""Versions of the operators of training, by device."""
INTEGER = (Backend("cpu", "dqrun.kernels.integer.cpu", (torch.float32, torch.uint8), "numba"),)
"""Versions of the operators of integer programs, by device."""

_choice: ContextVar[str] = ContextVar("dqrun_kernels", default="auto")
_ran: ContextVar[Ran | None] = ContextVar("dqrun_kernels_ran", default=None)


@contextmanager
def use(name: str) -> Iterator[None]:
    """Versions of the operators inside the `with` block, and in the backward pass of its results.

    "auto": compiled for float32 tensors (and codes) on the CPU where numba works, else the reference; "reference":
    plain torch; "cpu": as auto, but an error where numba does not work (ConfigError) or a compiled version fails (its
    own error). Other tensors always take the reference.
    """
    if name not in CHOICES:
        raise ConfigError.rule("kernels", f"be one of {', '.join(CHOICES)}", name)
    if name == "cpu" and isinstance(problem := load(FLOATING[0]), str):
        raise ConfigError(f"kernels must be auto or reference here, got 'cpu': numba does not work ({problem})")
    token = _choice.set(name)
    try:
        yield
    finally:
        _choice.reset(token)


def no_reference() -> AbstractContextManager[None]:
    """Inside the block "reference" is treated as "auto"."""
    return use("auto") if _choice.get() == "reference" else nullcontext()


@contextmanager
def ran() -> Iterator[Ran]:
    """Records which versions of operators run inside the `with` block, in the `Ran` that it yields."""
    outer, inside = _ran.get(), Ran()
    token = _ran.set(inside)
    try:
        yield inside
    finally:
        _ran.reset(token)
        if outer is not None:
            outer.versions |= inside.versions


def note(version: str) -> None:
    """Records for `ran` that this version runs."""
    if (listener := _ran.get()) is not None:
        listener.versions.add(version)


def compiled(operator: str, backend: Backend) -> Callable[..., Any] | None:
    """The compiled version of an operator; None if the definition must run. Warns if numba does not work."""
    return None if _choice.get() == "reference" else _function(operator, backend)


@functools.cache
def _function(operator: str, backend: Backend) -> Callable[..., Any] | None:
    module = load(backend)
    if isinstance(module, str):
        warn_once(f"{backend.made_by} does not work ({module}): using the slower plain torch kernels")
        return None
    return None if operator in failed() else getattr(module, operator)


def run(operator: str, backend: Backend, definition: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Runs an operator for data that the backend takes, in the chosen version.

    If a compiled version fails, the definition runs instead, now and in later calls of this process, with one warning.
    If the definition fails too, the arguments are wrong, and its error is raised.
    """
    function = compiled(operator, backend)
    if function is None:
        note("reference")
        return definition(*args)
    try:
        result = function(*args)
    except Exception as error:
        if _choice.get() != "auto":
            raise
        result = definition(*args)
        failed().add(operator)
        _function.cache_clear()
        note("reference")
        warn_once(f"dqrun::{operator}: {_line(error)}: its compiled version failed, using the slower plain torch one")
        return result
    note(backend.device)
    return result


@functools.cache
def failed() -> set[str]:
    """Operators whose compiled version failed in this process."""
    return set()


@functools.cache
def load(backend: Backend) -> ModuleType | str:
    """Compiled versions after a trial run, or in one line why there are none; numba is imported only here."""
    try:
        module = importlib.import_module(backend.module)
        module.check()
    except Exception as error:  # a broken numba, llvmlite or C compiler cache can raise anything; torch still works
        return _line(error)
    logging.getLogger("dqrun").info("kernels: %s, compiled by %s", backend.module, backend.made_by)
    return module


def forget() -> None:
    """Clears all caches: which versions load, which failed, which warnings were given."""
    for known in (load, failed, _function, warn_once):
        known.cache_clear()


@functools.cache
def warn_once(problem: str) -> None:
    logging.getLogger("dqrun").warning(problem)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
