"""`linear_pair`: two products of codes with weights, added in float64 before the epilogue.

Each is summed as in `linear`; sums of WAITING rows of both are kept in the cache and then added.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from dqrun.kernels.cpu.launch import inner, parts, share
from dqrun.kernels.cpu.routine import call
from dqrun.kernels.cpu.structure import BYTES, DOUBLES, INTEGER, Structure
from dqrun.kernels.cpu.task import advance, scratch_bytes, task, view
from dqrun.kernels.cpu.vector import F64x16, I32x16, U8x64, convert, load, store
from dqrun.kernels.integer.codes import Codes
from dqrun.kernels.integer.cpu.epilogues import Sums, finish_of
from dqrun.kernels.integer.cpu.finishing import EPILOGUE
from dqrun.kernels.integer.cpu.linear import PRODUCT, WAITING, add_products, copied_bytes, product_of
from dqrun.kernels.integer.cpu.rows_of_codes import LANES, step_and_lowest
from dqrun.kernels.integer.epilogue import Epilogue
from dqrun.kernels.integer.weight import Weight

PAIR = Structure(
    "Pair",
    first=PRODUCT,
    second=PRODUCT,
    first_totals=DOUBLES,  # the sums of each output's weights
    second_totals=DOUBLES,
    ratio=DOUBLES,  # factor of the second product of each output
    rows=INTEGER,
    epilogue=EPILOGUE,
    scratch=BYTES,
    between=INTEGER,  # bytes of scratch of a part,
    copied=INTEGER,  # and those for unpacked rows
)


@inner
def _worth(p: Any, acc: Any, at: int, row: int, totals: Any, channel: int) -> Any:
    """LANES sums of a row; in real numbers where each row of x has a grid."""
    step, lowest = step_and_lowest(p.x, row, 1.0)
    return convert(F64x16, load(I32x16, acc, at)) * step + load(F64x16, totals, channel) * lowest


@task(PAIR)
def _pair(part: int, num_parts: int, a: Any) -> None:
    begin, end = share(part, num_parts, a.rows)
    outputs = a.first.outputs
    sums = view(F64x16, advance(a.scratch, part * a.between))
    one = view(I32x16, advance(sums, WAITING * outputs))
    two = advance(one, WAITING * outputs)
    copied = view(U8x64, advance(two, WAITING * outputs))
    rest = advance(copied, a.copied)
    for row in range(begin, end, WAITING):
        count = min(WAITING, end - row)
        add_products(a.first, row, count, copied, one)
        add_products(a.second, row, count, copied, two)
        for r in range(count):
            for channel in range(0, outputs, LANES):
                at = r * outputs + channel
                v = _worth(a.first, one, at, row + r, a.first_totals, channel)
                w = _worth(a.second, two, at, row + r, a.second_totals, channel)
                store(sums, at, v + w * load(F64x16, a.ratio, channel))
        call(a.epilogue.finish, (a.epilogue, sums, row, count, rest))


def linear_pair(
    x: Codes, weight: Weight, y: Codes, second_weight: Weight, ratio: Tensor, epilogue: Epilogue
) -> Codes | Tensor:
    outputs, inputs = weight.codes.shape
    behind = (0, -outputs % LANES)
    stride = outputs + behind[1]
    finish = finish_of(epilogue, x.num_rows, outputs, Sums(np.float64, stride))
    if x.num_rows and outputs:
        second_inputs = second_weight.codes.size(1)
        num_parts = parts(x.num_rows * (2 * outputs + inputs + second_inputs))
        copied = copied_bytes(max(inputs, second_inputs))
        scratch, between = scratch_bytes(num_parts, 16 * WAITING * stride + copied + finish.scratch)
        arguments = PAIR.pack(
            first=product_of(x, weight),
            second=product_of(y, second_weight),
            first_totals=F.pad(weight.row_sums.double(), behind),
            second_totals=F.pad(second_weight.row_sums.double(), behind),
            ratio=F.pad(ratio.expand(outputs), behind).contiguous(),
            rows=x.num_rows,
            epilogue=finish.packed,
            scratch=scratch,
            between=between,
            copied=copied,
        )
        _pair.run(num_parts, arguments)
    return finish.result
