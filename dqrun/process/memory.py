"""How this process keeps memory that was freed."""

from __future__ import annotations

import ctypes
import gc
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # mallopt(3)


def return_freed_memory() -> None:
    """Returns to the system what was freed and is kept, so that it does not count for whatever runs next."""
    gc.collect()
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def keep_freed_memory() -> None:
    """Lets the C library keep what is freed for the next allocation, rather than return it to the system at once.

    A training step frees and allocates the same large tensors again and again; every page of a new one would be
    faulted in anew, which takes longer than rounding its values: a tenth of a step of quantisation-aware training on
    REDDIT-BINARY was measured, two thirds of one on CiteSeer, whose features take 47 MiB. The process stays as large
    as it ever was. Does nothing where the C library is not GNU's.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)  # large blocks too come from the heap
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)  # whose end stays
