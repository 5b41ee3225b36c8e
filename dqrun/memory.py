"""How this process keeps memory that was freed."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # mallopt(3)
_LARGEST = 32 * 2**20  # bytes: the most that the C library takes as a threshold


def keep_freed_memory(every_size: bool = False) -> None:
    """Lets the C library keep what is freed for the next allocation, rather than return it to the system at once.

    A training step frees and allocates the same large tensors again and again; every page of a new one would be
    faulted in anew, which takes longer than rounding its values (a tenth of a step of quantisation-aware training on
    REDDIT-BINARY was measured). Blocks above 32 MiB are returned all the same, lest a process grow without need;
    `every_size`: not even they, for benchmarks, where a peer should not pay for them either. Does nothing where the C
    library is not GNU's.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST)  # large blocks too come from the heap
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)  # whose end stays
        if every_size:
            mallopt(_MMAP_MAX, 0)
