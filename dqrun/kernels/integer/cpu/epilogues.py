"""Converts an `Epilogue` and its result to the structure that kernels take: `finishing.EPILOGUE`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dqrun.kernels.cpu.structure import Packed
from dqrun.kernels.integer.codes import CodeGrid, Codes
from dqrun.kernels.integer.cpu.encode import rule_of
from dqrun.kernels.integer.cpu.finishing import (
    ALL,
    BEHIND,
    EPILOGUE,
    GAIN,
    OWN,
    PLAIN,
    ROUTINES,
    SCALE,
    TERM,
    scratch_size,
)
from dqrun.kernels.integer.cpu.rows_of_codes import codes_of
from dqrun.kernels.integer.epilogue import Epilogue


@dataclass(frozen=True)
class Sums:
    """The layout of the sums of rows that a kernel passes to its epilogue, see `finishing`.

    `dtype`: np.int32 or np.float64. `own`: codes of the row itself that are added to its sums, times `own_weight`.
    """

    dtype: Any
    stride: int
    own: Codes | None = None
    own_weight: float = 0.0


@dataclass(frozen=True)
class Finish:
    """A kernel that gets `packed` writes to `result`; each part of the kernel needs `scratch` bytes."""

    result: Codes | Tensor
    packed: Packed
    scratch: int


def finish_of(epilogue: Epilogue, num_rows: int, channels: int, sums: Sums) -> Finish:
    """The epilogue and result for sums [num_rows, channels]."""
    e, grid = epilogue.folded, epilogue.grid
    result = torch.empty(num_rows, channels) if grid is None else Codes.empty(num_rows, channels, grid)
    low, high = (0.0 if relu else -np.inf for relu in (e.pre_relu, e.activation == "relu"))
    has_gain = e.gain is not None
    zero_point = grid.zero_point if isinstance(grid, CodeGrid) else 0
    relu = e.residual is None and (high == 0.0 or (low == 0.0 and not has_gain))
    values = EPILOGUE.pack(
        finish=ROUTINES[epilogue.in_steps][sums.dtype].address,
        channels=channels,
        stride=sums.stride,
        has=_has(e, epilogue, sums.own is not None),
        multiplier=_vector(e.multiplier, channels),
        bias=_vector(e.bias if e.bias is not None else torch.zeros(1, dtype=torch.float64), channels),
        gain=_vector(e.gain, channels),
        offset=_vector(e.offset, channels),
        channel_term=_vector(e.channel_term, channels),
        row_scale=None if e.row_scale is None else e.row_scale.contiguous(),
        row_term=None if e.row_term is None else e.row_term.contiguous(),
        has_scale=e.row_scale is not None,
        has_gain=has_gain,
        has_term=e.row_term is not None,
        has_elu=e.activation == "elu",
        low=low if has_gain else max(low, high),
        high=high,
        own=codes_of(sums.own),
        own_weight=sums.own_weight,
        residual=codes_of(e.residual),
        residual_step=epilogue.residual_step,
        reals=result if isinstance(result, Tensor) else None,
        codes=result.data if isinstance(result, Codes) else None,
        planes=1 if grid is None else grid.planes,
        width=channels if grid is None else grid.row_bytes(channels),
        coded=isinstance(grid, CodeGrid),
        inverse=1 / grid.scale if isinstance(grid, CodeGrid) else 1.0,
        zero_point=zero_point,
        top=0 if grid is None else grid.top,
        floor=0 if relu else -zero_point,
        rule=rule_of(grid),
        numbers=result.numbers if isinstance(result, Codes) else None,
    )
    return Finish(result, values, scratch_size(channels, sums.stride))


def _has(e: Epilogue, given: Epilogue, has_own: bool) -> int:
    """The number (PLAIN .. ALL) of the loop with the fewest additional operations that has all needed ones."""
    coded = isinstance(e.grid, CodeGrid) and not given.in_steps
    if e.activation == "elu" or e.residual is not None or coded:
        return ALL
    there = [e.gain is not None, has_own, e.row_term is not None, e.row_term is None and e.row_scale is not None]
    if sum(there) > 1 or (e.gain is not None and e.activation == "relu" and not given.in_steps):
        return ALL
    return next((has for has, one in zip((GAIN, OWN, TERM, SCALE), there, strict=True) if one), PLAIN)


def _vector(value: Tensor | None, channels: int) -> Tensor | None:
    """A number per channel, padded by BEHIND numbers that kernels may read."""
    return None if value is None else F.pad(value.expand(channels), (0, BEHIND)).contiguous()
