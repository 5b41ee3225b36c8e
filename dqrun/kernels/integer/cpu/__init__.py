"""The integer kernels compiled with numba for the CPU; the contract is `dqrun.kernels.integer`'s.

Their loops are over vectors (`kernels.cpu.vector`), those of `aggregate` written with `builder`. `finishing` is the
common epilogue.
"""

from __future__ import annotations

import torch

from dqrun.kernels.integer.codes import CodeGrid
from dqrun.kernels.integer.cpu.aggregate import aggregate, aggregate_mean
from dqrun.kernels.integer.cpu.attention import attention
from dqrun.kernels.integer.cpu.linear import linear
from dqrun.kernels.integer.cpu.linear_pair import linear_pair
from dqrun.kernels.integer.cpu.quantize import quantize
from dqrun.kernels.integer.cpu.segments import segment_reduce

__all__ = [
    "aggregate",
    "aggregate_mean",
    "attention",
    "check",
    "linear",
    "linear_pair",
    "quantize",
    "segment_reduce",
]


def check() -> None:
    """Compiles and runs one kernel; raises whatever a numba that does not work raises."""
    quantize(torch.ones(1, 1), CodeGrid(8, 1.0, 0))
