"""The kernels compiled with numba for float32 tensors on the CPU; the contract is `dqrun.kernels`'."""

from __future__ import annotations

import torch

from dqrun.kernels.cpu.aggregate import spmm, spmm_quantized, spmm_self
from dqrun.kernels.cpu.channel_ranges import channel_range
from dqrun.kernels.cpu.channels import fake_quantize_broadcast
from dqrun.kernels.cpu.dense import linear
from dqrun.kernels.cpu.noise import dropout
from dqrun.kernels.cpu.ranges import message_range, tail_range
from dqrun.kernels.cpu.rounding import fake_quantize
from dqrun.kernels.cpu.segments import edge_add, edge_softmax, segment_reduce

__all__ = [
    "channel_range",
    "check",
    "dropout",
    "edge_add",
    "edge_softmax",
    "fake_quantize",
    "fake_quantize_broadcast",
    "linear",
    "message_range",
    "segment_reduce",
    "spmm",
    "spmm_quantized",
    "spmm_self",
    "tail_range",
]


def check() -> None:
    """Compiles and runs one kernel; raises whatever a numba that does not work raises."""
    one = torch.ones(1)
    fake_quantize(one, one[0], torch.tensor(0, dtype=torch.int32), -8, 7)
