"""`linear_pair`: two products of codes with weights, added in float64 before the epilogue.

Each is summed as in `linear`; WAITING rows of both wait in the cache for their sum.
"""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from numba import prange
from torch import Tensor

from dqrun.kernels.cpu.launch import Array, array, inner, kernel, parts, share
from dqrun.kernels.integer.codes import Codes
from dqrun.kernels.integer.cpu.finish import (
    Affine,
    Residual,
    Target,
    finish,
    finish_rows,
    no_own,
    row_values,
    store_rows,
    target,
)
from dqrun.kernels.integer.cpu.linear import ROWS, WAITING, Rows, copy_rows, dots_plain, dots_vnni, rows_of
from dqrun.kernels.integer.cpu.row_codes import MOST_ROWS, NO_ROWS
from dqrun.kernels.integer.cpu.vectors import HAS_VNNI, LANES, hold, pointers
from dqrun.kernels.integer.epilogue import Epilogue
from dqrun.kernels.integer.weight import BLOCK, Weight


@inner
def _dots(x: Rows, row: int, count: int, weight: Array, begin: Array, copied: Array, acc: Array) -> None:
    """The sums of `count` rows from `row` on, int32, into acc [WAITING, outputs rounded up to LANES]."""
    padded, total = (x[1] + 3) // 4 * 4, begin.size
    copied_at, acc_at, weight_at, begin_at = pointers((copied, acc, weight, begin))
    for at in range(0, count, ROWS):
        copy_rows(x, row + at, min(ROWS, count - at), copied_at, padded)
        for first in range(0, total, BLOCK):
            width = min(BLOCK, total - first)
            if HAS_VNNI:
                dots_vnni(copied_at, padded, weight_at, first, width, begin_at, acc_at, at, total)
            else:
                dots_plain(copied, padded, weight, first, width, begin, acc, at, total)


@kernel
def _linear_pair(
    x: Rows,
    y: Rows,
    num_rows: int,
    weights: tuple[Array, Array],
    begins: tuple[Array, Array],
    totals: tuple[Array, Array],
    ratio: Array,
    outputs: int,
    affine: Affine,
    residual: Residual,
    out: Target,
    num_parts: int,
) -> None:
    """ratio and totals, the sums of each output's weights: float64 [outputs, rounded up to LANES]."""
    total, inputs = ratio.size, max(x[1], y[1])
    for part in prange(num_parts):
        top, end = share(part, num_parts, num_rows)
        copied = np.empty(ROWS * (inputs + 3) + 2 * LANES, np.uint8)
        first, second = np.empty(WAITING * total, np.int32), np.empty(WAITING * total, np.int32)
        sums, results = np.empty(WAITING * total + LANES, np.float64), np.empty(WAITING * total + 2 * LANES, np.uint8)
        reals = np.empty(WAITING * total + LANES, np.float32)
        ends = np.empty(3 * MOST_ROWS, np.float32)
        x_at, y_at, how = pointers(x), pointers(y), (pointers(affine), pointers(residual), pointers(out))
        (sums_at,), waiting = pointers((sums,)), pointers((results, reals, ends))
        for row in range(top, end, WAITING):
            count = min(WAITING, end - row)
            _dots(x_at, row, count, weights[0], begins[0], copied, first)
            _dots(y_at, row, count, weights[1], begins[1], copied, second)
            for r in range(count):
                if x_at[5] == NO_ROWS and y_at[5] == NO_ROWS:
                    for c in range(total):
                        product = ratio[c] * second[r * total + c]
                        sums[r * total + c] = first[r * total + c] + product
                else:
                    scale, low = row_values(x_at[4], x_at[5], row + r, 1.0)
                    second_scale, second_low = row_values(y_at[4], y_at[5], row + r, 1.0)
                    for c in range(total):
                        one = first[r * total + c] * scale + low * totals[0][c]
                        two = second[r * total + c] * second_scale + second_low * totals[1][c]
                        product = ratio[c] * two
                        sums[r * total + c] = one + product
            finish_rows(sums_at, 0, total, row, count, 0, outputs, how, no_own(how), waiting)
            store_rows(row, count, total, how, waiting)
        hold((copied, first, second, sums, results, reals, ends))


def linear_pair(
    x: Codes, weight: Weight, y: Codes, second_weight: Weight, ratio: Tensor, epilogue: Epilogue
) -> Codes | Tensor:
    outputs, inputs = weight.codes.shape
    result, out = target(epilogue, x.num_rows, outputs)
    if x.num_rows and outputs:
        behind = (0, -outputs % LANES)
        pairs = (x, weight), (y, second_weight)
        first, second = (array(F.pad(each.row_sums * -codes.grid.zero_point, behind)) for codes, each in pairs)
        weights = array(weight.blocked), array(second_weight.blocked)
        factors = array(F.pad(ratio.expand(outputs), behind))
        num_parts = parts(x.num_rows * (2 * outputs + inputs + second_weight.codes.size(1)))
        sums = weight.row_sums, second_weight.row_sums
        one, two = (array(F.pad(each.double(), behind)) for each in sums)
        given = rows_of(x), rows_of(y), x.num_rows, weights, (first, second), (one, two), factors, outputs
        _linear_pair(*given, *finish(epilogue, outputs), out, num_parts)
    return result
