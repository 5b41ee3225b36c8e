"""The operators of `dqrun.kernels.ops` compiled with numba, for float32 tensors on the CPU."""

from __future__ import annotations

import torch

from dqrun.kernels.cpu.aggregate import (
    spmm,
    spmm_backward,
    spmm_quantized,
    spmm_quantized_backward,
    spmm_quantized_weight_backward,
    spmm_self,
    spmm_self_backward,
    spmm_weight_backward,
)
from dqrun.kernels.cpu.channel_ranges import channel_range
from dqrun.kernels.cpu.channels import (
    fake_quantize_broadcast,
    fake_quantize_broadcast_backward,
    fake_quantize_broadcast_scale_backward,
)
from dqrun.kernels.cpu.codes import decode, encode
from dqrun.kernels.cpu.dense import linear, linear_coded_weight_backward, linear_weight_backward
from dqrun.kernels.cpu.noise import dropout
from dqrun.kernels.cpu.ranges import message_range, tail_range
from dqrun.kernels.cpu.rounding import (
    fake_quantize,
    fake_quantize_cachemask,
    fake_quantize_cachemask_backward,
)
from dqrun.kernels.cpu.rows import fake_quantize_rows, fake_quantize_rows_cachemask, fake_quantize_sparse_rows
from dqrun.kernels.cpu.segments import (
    edge_add,
    edge_add_backward,
    edge_softmax,
    edge_softmax_backward,
    segment_max,
    segment_sum,
)
from dqrun.kernels.cpu.steps import fake_quantize_scale_backward, spmm_quantized_scale_backward
from dqrun.kernels.noise import NO_NOISE

__all__ = [
    "channel_range",
    "check",
    "decode",
    "dropout",
    "edge_add",
    "edge_add_backward",
    "edge_softmax",
    "edge_softmax_backward",
    "encode",
    "fake_quantize",
    "fake_quantize_broadcast",
    "fake_quantize_broadcast_backward",
    "fake_quantize_broadcast_scale_backward",
    "fake_quantize_cachemask",
    "fake_quantize_cachemask_backward",
    "fake_quantize_rows",
    "fake_quantize_rows_cachemask",
    "fake_quantize_scale_backward",
    "fake_quantize_sparse_rows",
    "linear",
    "linear_coded_weight_backward",
    "linear_weight_backward",
    "message_range",
    "segment_max",
    "segment_sum",
    "spmm",
    "spmm_backward",
    "spmm_quantized",
    "spmm_quantized_backward",
    "spmm_quantized_scale_backward",
    "spmm_quantized_weight_backward",
    "spmm_self",
    "spmm_self_backward",
    "spmm_weight_backward",
    "tail_range",
]


def check() -> None:
    """Compiles and runs one kernel; raises whatever a numba that does not work raises."""
    one = torch.ones(1)
    fake_quantize(one, one[0], torch.tensor(0, dtype=torch.int32), -8, 7, None, "ste", False, *NO_NOISE)
