"""Which version of a kernel runs: the plain torch one, or the compiled one where it works."""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import ParamSpec, TypeVar, cast

import torch
from torch import Tensor
from torch.profiler import record_function

from dqrun.errors import ConfigError

P = ParamSpec("P")
R = TypeVar("R")


class Ran:
    """Which versions of kernels ran; calls that have no compiled version (float64, say) do not count."""

    def __init__(self) -> None:
        self.versions: set[str] = set()

    @property
    def name(self) -> str:
        """ "cpu" (compiled), "reference", "mixed", or "" where no kernel ran."""
        return "mixed" if len(self.versions) > 1 else "".join(self.versions)


CHOICES = ("auto", "reference", "cpu")
FLOATING, INTEGER = "dqrun.kernels.cpu", "dqrun.kernels.integer.cpu"
"""The packages of compiled kernels."""
COMPILED_TYPES = {FLOATING: (torch.float32,), INTEGER: (torch.float32, torch.uint8)}

_choice: ContextVar[str] = ContextVar("dqrun_kernels", default="auto")
_recorded: ContextVar[bool] = ContextVar("dqrun_kernels_recorded", default=False)
_ran: ContextVar[Ran | None] = ContextVar("dqrun_kernels_ran", default=None)


@contextmanager
def use(name: str) -> Iterator[None]:
    """Kernels of the code inside the `with` block (and of the backward pass of what it computes).

    "auto": compiled for float32 tensors (and codes) on the CPU where numba works, else the reference; "reference":
    plain torch; "cpu": as auto, but ConfigError where numba does not work. Other tensors always take the reference.
    """
    if name not in CHOICES:
        raise ConfigError.rule("kernels", f"be one of {', '.join(CHOICES)}", name)
    if name == "cpu" and isinstance(problem := _load_compiled(FLOATING), str):
        raise ConfigError(f"kernels must be auto or reference here, got 'cpu': numba does not work ({problem})")
    token = _choice.set(name)
    try:
        yield
    finally:
        _choice.reset(token)


@contextmanager
def recorded() -> Iterator[None]:
    """Kernels of the code inside the `with` block appear by name (`dqrun::NAME`) in a profile of torch's profiler."""
    token = _recorded.set(True)
    try:
        yield
    finally:
        _recorded.reset(token)


@contextmanager
def ran() -> Iterator[Ran]:
    """What kernels of the code inside the `with` block really run, told by the `Ran` that it gives, then and later."""
    outer, inside = _ran.get(), Ran()
    token = _ran.set(inside)
    try:
        yield inside
    finally:
        _ran.reset(token)
        if outer is not None:
            outer.versions |= inside.versions


def version(meaning: Callable[P, R], x: Tensor, package: str = FLOATING) -> Callable[P, R]:
    """The version of a function of `reference` to call for data like x; `package` has the compiled ones."""
    chosen = _version(meaning, x, package)
    return record_function(f"dqrun::{meaning.__name__}")(chosen) if _recorded.get() else chosen


def _version(meaning: Callable[P, R], x: Tensor, package: str) -> Callable[P, R]:
    if x.dtype not in COMPILED_TYPES[package]:
        return meaning
    compiled = None if _choice.get() == "reference" or x.device.type != "cpu" else _load_compiled(package)
    if isinstance(compiled, str):
        _warn_once(compiled)
    chosen = meaning if compiled is None or isinstance(compiled, str) else getattr(compiled, meaning.__name__)
    if (listener := _ran.get()) is not None:
        listener.versions.add("reference" if chosen is meaning else "cpu")
    return cast("Callable[P, R]", chosen)


@functools.cache
def _load_compiled(package: str) -> ModuleType | str:
    """Compiled kernels after a trial run, or in one line why there are none; numba is imported only here."""
    try:
        compiled = importlib.import_module(package)
        compiled.check()
    except Exception as error:  # a broken numba, llvmlite or C compiler cache can raise anything; torch still works
        return f"{type(error).__name__}: {error}".splitlines()[0]
    logging.getLogger("dqrun").info("kernels: %s, compiled by numba", package)
    return compiled


@functools.cache
def _warn_once(problem: str) -> None:
    logging.getLogger("dqrun").warning("numba does not work (%s): using the slower plain torch kernels", problem)
