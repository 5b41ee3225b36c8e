"""How threads of this process wait for their next parallel region."""

from __future__ import annotations

import os

_SPINS = "3000"  # some 10 microseconds; GNU's OpenMP takes 300,000 unless told otherwise
_BUSY = 0.5  # processes that ran at a time in the last minute


def let_threads_sleep() -> None:
    """If other processes run: threads of GNU OpenMP (torch and kernels) spin only for a moment, then sleep.

    Call it before torch is imported, because the library then reads its settings; settings of the user are kept.
    Spinning threads occupy cores that other processes need, and the thread for which they wait. Measured on two cores,
    two threads, GIN on `threads`: beside two processes of one thread an epoch took 0.67 s rather than 1.56 s, beside
    one with two threads 0.43 s rather than 0.58 s; but alone 0.126 s rather than 0.119 s, and a step of GCN on Cora
    8.0 ms rather than 7.2 ms. Therefore nothing changes on a machine without other work.
    """
    if {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys() or not hasattr(os, "getloadavg"):
        return
    if os.getloadavg()[0] >= _BUSY:
        os.environ["GOMP_SPINCOUNT"] = _SPINS
