"""Whether freed memory is kept by this process or returned to the system."""

from __future__ import annotations

import ctypes
import gc
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # mallopt(3)


def return_freed_memory() -> None:
    """Returns memory that was freed to the system, so that it is not counted for the next trial."""
    gc.collect()
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def keep_freed_memory() -> None:
    """Lets the C library keep freed memory for the next allocation, instead of returning it to the system at once.

    A training step frees and allocates the same large tensors again and again; without this the system must map each
    page of a new tensor again, which takes longer than rounding its values. Measured: a tenth of a step of
    quantisation-aware training on REDDIT-BINARY, two thirds of one on CiteSeer, whose features take 47 MiB. The process
    never becomes smaller. Does nothing where the C library is not GNU's.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)  # allocate large blocks from the heap too
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)  # and never shrink the heap
