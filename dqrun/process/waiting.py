"""How threads of this process wait for their next parallel region."""

from __future__ import annotations

import os

_SPINS = "3000"  # some 10 microseconds; GNU's OpenMP takes 300,000 unless told otherwise
_BUSY = 0.5  # processes that ran at a time in the last minute


def let_threads_sleep() -> None:
    """Where other processes run: threads of GNU's OpenMP, torch's and the kernels', spin only a moment, then sleep.

    To be called before torch is imported, which is when the library reads its settings; the user's own stay. Spinning
    threads hold cores that other processes need, above all the thread that they wait for. Measured on two cores, two
    threads, GIN on `threads`: beside two processes of one thread an epoch took 0.67 s rather than 1.56 s, beside one
    with two threads 0.43 s rather than 0.58 s; but alone 0.126 s rather than 0.119 s, and a step of GCN on Cora 8.0 ms
    rather than 7.2 ms, so that a machine without other work is left as it is.
    """
    if {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys() or not hasattr(os, "getloadavg"):
        return
    if os.getloadavg()[0] >= _BUSY:
        os.environ["GOMP_SPINCOUNT"] = _SPINS
