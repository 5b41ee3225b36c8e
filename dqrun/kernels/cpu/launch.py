"""How compiled kernels are built and started.

Threads. A kernel splits its work into `parts(work)` fixed parts, one per thread of `torch.get_num_threads()`, so
that the same number of threads gives the same bits. numba's OpenMP layer is preferred: in a process that has loaded
torch first it is served by torch's own OpenMP pool, whereas any second pool would fight for the cores with torch's
workers, which wait for their next region by spinning (with numba's workqueue, twice the time of a kernel between two
torch operations was measured). Without OpenMP numba takes the next layer. The workqueue layer aborts the process when
two Python threads start kernels at once, so kernels start one at a time.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

F = TypeVar("F", bound=Callable[..., Any])
Array = NDArray[Any]

WORK_PER_PART = 8192  # elements below which another thread costs more than it saves
NO_FLOATS = np.empty(0, np.float32)  # "no such argument" for a kernel: one type, hence one compilation
NO_INTEGERS = np.empty(0, np.int64)
NO_FLAGS = np.empty(0, np.bool_)

_one_at_a_time = threading.Lock()

if not {"NUMBA_THREADING_LAYER", "NUMBA_THREADING_LAYER_PRIORITY"} & os.environ.keys():
    numba.config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]


def inner(function: F) -> F:
    """Compiles a function that kernels call; it becomes part of each of them."""
    return cast(F, numba.njit(function))


def inner_sum(function: F) -> F:
    """As `inner`, for a sum whose terms may be regrouped into vector lanes (the same way in each run)."""
    return cast(F, numba.njit(fastmath={"reassoc", "nsz", "contract"})(function))


def kernel(function: F) -> F:
    """Compiles a parallel kernel at its first call, cached on disk where some cache folder is writable."""
    try:
        compiled = numba.njit(parallel=True, nogil=True, cache=True)(function)
    except RuntimeError:  # numba found no writable cache folder
        compiled = numba.njit(parallel=True, nogil=True)(function)

    @wraps(function)
    def start(*args: Any) -> Any:
        with _one_at_a_time:
            return compiled(*args)

    return cast(F, start)


def parts(work: int) -> int:
    """Number of parts for `work` elements; tells numba to use as many threads as torch does."""
    threads = min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)
    numba.set_num_threads(threads)
    return max(1, min(threads, work // WORK_PER_PART))


def array(tensor: Tensor) -> Array:
    """A tensor's memory as a flat numpy array (a copy only where it is not contiguous)."""
    return tensor.detach().reshape(-1).numpy()


def optional(tensor: Tensor | None, absent: Array) -> Array:
    """`array`, or the empty array that stands for "no such argument"."""
    return absent if tensor is None else array(tensor)


@inner
def share(part: int, num_parts: int, total: int) -> tuple[int, int]:
    """Where a part's share of range(total) starts and stops."""
    index = np.int64(part)  # numba's parallel index may be unsigned
    return index * total // num_parts, (index + 1) * total // num_parts
