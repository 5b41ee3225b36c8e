"""How compiled kernels are built and started.

Threads. A kernel splits its work into `parts(work)` fixed parts, one per thread of `torch.get_num_threads()`, so
that the same number of threads gives the same bits. numba's OpenMP layer is preferred: in a process that has loaded
torch first it uses torch's own OpenMP pool. A second pool would compete for the cores with torch's workers, which spin
while they wait for their next region (with numba's workqueue a kernel between two torch operations took twice the
time). Without OpenMP numba uses the next layer. The workqueue layer aborts the process if two Python threads start
kernels at once, so kernels start one at a time. With GNU OpenMP a process forked after its parent ran a kernel must run
none (numba ends it, torch's own regions would hang): start workers as new processes.
"""

from __future__ import annotations

import inspect
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any, TypeVar, cast

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dqrun.kernels.cpu.cache import MendingCache
from dqrun.kernels.cpu.each_part import each_part
from dqrun.kernels.cpu.linked import Uncollected, linked, linked_loop
from dqrun.kernels.cpu.routine import runner

F = TypeVar("F", bound=Callable[..., Any])
Array = NDArray[Any]

WORK_PER_PART = 8192  # number of elements below which another thread costs more than it saves
NO_FLOATS = np.empty(0, np.float32)  # "no such argument" for a kernel: one type, hence one compilation
NO_INTEGERS = np.empty(0, np.int64)
NO_FLAGS = np.empty(0, np.bool_)

_OPTIONS: dict[str, Any] = {"error_model": "numpy", "nogil": True, "no_cfunc_wrapper": True}
_settings: Any = numba.config  # untyped in numba
_one_at_a_time = threading.Lock()

if "NUMBA_NUM_THREADS" not in os.environ:
    # numba wakes its whole pool for each kernel, even if it uses a single thread, and the other threads spin: two
    # trials with a thread each would then compete for two cores. So the pool is as large as torch's is now, but not
    # larger than numba's own limit, the number of cores available when numba was imported.
    _settings.NUMBA_NUM_THREADS = min(torch.get_num_threads(), _settings.NUMBA_NUM_THREADS)
if not {"NUMBA_THREADING_LAYER", "NUMBA_THREADING_LAYER_PRIORITY"} & os.environ.keys():
    _settings.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]
_torch_threads = torch.get_num_threads()
numba.get_num_threads()  # starts the pool, which sets the number of threads of the OpenMP library that torch shares
torch.set_num_threads(_torch_threads)


def inner(function: F) -> F:
    """Compiles a function that kernels call; it is inlined, because a call takes as long as the work for an edge."""
    return linked(function)


def inner_loop(function: F) -> F:
    """As `inner`, for a loop that is faster if it is optimised on its own; compilation takes longer."""
    return linked_loop(function)


def driver(function: F) -> F:
    """Compiles a function that Python calls, at its first call; cached on disk where some folder is writable.

    Kernels and drivers call no numpy function of arrays: numba would compile each of those too.
    """
    return cast(F, _started(function, function))


def kernel(function: Callable[..., None]) -> Callable[..., None]:
    """A function of (part, number of parts, arguments) that Python calls as kernel(number of parts, arguments).

    Runs it for each part, each on a thread of its own. Compiled as a `driver`. It fills arrays that it is given.
    """
    names = ", ".join(list(inspect.signature(function).parameters)[2:])
    scope: dict[str, Any] = {"body": linked(function), "each_part": each_part}
    # numba takes the names of arguments from the source, and starts functions with *args slowly
    exec(f"def run(runner, count, {names}):\n each_part(body, runner, count, ({names},))", scope)
    for name in ("__module__", "__name__", "__qualname__"):  # symbols in machine code are made of them
        setattr(scope["run"], name, getattr(function, name))
    run = _started(scope["run"], function)

    @wraps(function)
    def start(num_parts: int, *args: Any) -> None:
        run(runner(num_parts), num_parts, *args)

    return start


def _started(compiled_from: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles one function, under the name of another in the cache; kernels start one at a time."""
    compiled: Any = numba.njit(pipeline_class=Uncollected, **_OPTIONS)(compiled_from)
    with suppress(RuntimeError):  # numba found no writable cache folder
        compiled._cache = MendingCache(function)

    @wraps(function)
    def start(*args: Any) -> Any:
        with _one_at_a_time:
            return compiled(*args)

    return start


def parts(work: int) -> int:
    """Number of parts for `work` elements, at most torch's number of threads (when the first kernel ran, or now).

    Small work is one part: it must not wait for a thread that the system has descheduled. numba's number of threads
    matters for several parts only: `routine.runner` chooses a loop without threads for one.
    """
    threads: int = min(torch.get_num_threads(), _settings.NUMBA_NUM_THREADS)
    count = min(threads, work // WORK_PER_PART)
    if count <= 1:
        return 1
    numba.set_num_threads(count)
    return count


def array(tensor: Tensor) -> Array:
    """A tensor's memory as a flat numpy array (a copy only where it is not contiguous)."""
    if tensor.requires_grad:
        tensor = tensor.detach()
    if not tensor.is_contiguous():
        tensor = tensor.contiguous()
    memory: Array = tensor.numpy()
    return memory if memory.ndim == 1 else memory.reshape(-1)


def rows(tensor: Tensor) -> Array:
    """A matrix's memory as a numpy array of the same shape (a copy only where it is not contiguous)."""
    matrix: Array = tensor.detach().contiguous().numpy()
    return matrix


def optional(tensor: Tensor | None, absent: Array) -> Array:
    """`array`, or the empty array that stands for "no such argument"."""
    return absent if tensor is None else array(tensor)


def empty_like(x: Tensor) -> Tensor:
    """Contiguous memory of x's shape, float32; in half the time that `torch.empty(x.shape)` takes."""
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def scratch(shape: tuple[int, ...], dtype: torch.dtype) -> Array:
    """Memory that a kernel fills, from torch's allocator, so that its profiler sees it."""
    filled: Array = torch.empty(shape, dtype=dtype).numpy()
    return filled


@inner
def share(part: int, num_parts: int, total: int) -> tuple[Any, Any]:
    """Where a part's share of range(total) starts and stops."""
    index = np.int64(part)  # numba's parallel index may be unsigned
    return index * total // num_parts, (index + 1) * total // num_parts


@inner
def first_place(ascending: Any, size: int, value: int) -> int:
    """The first place of ascending numbers, `size` of them, that holds at least `value` (their number if none does)."""
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        if ascending[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@inner
def first_at_least(ascending: Array, value: int) -> int:
    """As `first_place`, of an array."""
    return first_place(ascending, ascending.size, value)
