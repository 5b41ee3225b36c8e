"""`linear`: codes times weight, with the epilogue applied while the sums are in the cache.

ROWS rows by up to 64 outputs are summed in registers (24 vectors of 16 int32), four inputs to an instruction where the
CPU has AVX-512 VNNI. The sums begin with the correction for x's zero point, -zero_point * (sum of an output's weights).
Rows of packed codes are first unpacked to a small buffer, which takes little time compared with the products; codes of
1 bit are not unpacked if weights are signs (`signs`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from dqrun.kernels.cpu.launch import inner, parts, share
from dqrun.kernels.cpu.routine import call
from dqrun.kernels.cpu.structure import BYTES, INTEGER, SIGNED_BYTES, WORDS, Packed, Structure
from dqrun.kernels.cpu.task import advance, scratch_bytes, task, view
from dqrun.kernels.cpu.vector import I8x64, I32x16, U8x64, add_dots, load, registers, repeat, store
from dqrun.kernels.integer.codes import Codes
from dqrun.kernels.integer.cpu.epilogues import Sums, finish_of
from dqrun.kernels.integer.cpu.finishing import EPILOGUE
from dqrun.kernels.integer.cpu.rows_of_codes import CODES, LANES, UNPACKED, codes_of, unpack_row
from dqrun.kernels.integer.cpu.signs import SIGNS, add_signs
from dqrun.kernels.integer.epilogue import Epilogue
from dqrun.kernels.integer.weight import BLOCK, Weight

ROWS = 6  # with four vectors of outputs: 24 sums, 4 vectors of weights and one of x fill the 32 registers
WAITING = 4 * ROWS  # rows whose sums are kept in the cache for one call of the epilogue

PRODUCT = Structure(
    "Product",
    x=CODES,
    weight=SIGNED_BYTES,  # in blocks (`Weight.blocked`)
    begin=WORDS,  # initial values of the sums
    inputs=INTEGER,  # rounded up to a multiple of 4
    outputs=INTEGER,  # rounded up to one of LANES
    signs=SIGNS,
)
LINEAR = Structure(
    "Linear",
    product=PRODUCT,
    rows=INTEGER,
    epilogue=EPILOGUE,
    scratch=BYTES,
    between=INTEGER,  # bytes of scratch of a part,
    copied=INTEGER,  # and those for unpacked rows
)


def _block(vectors: int) -> Callable[..., None]:
    """The sums of ROWS rows and LANES * vectors outputs."""
    size = ROWS * vectors

    @inner
    def block(p: Any, x: Any, start: int, stride: int, last: int, first: int, acc: Any) -> None:
        """acc[r * p.outputs + first..] of rows r; row r of x is x[start + min(r, last) * stride..]."""
        sums, factors = registers(I32x16, size), registers(I8x64, vectors)
        for r in range(ROWS):
            for v in range(vectors):
                sums[r * vectors + v] = load(I32x16, p.begin, first + LANES * v)
        for k in range(0, p.inputs, 4):
            for v in range(vectors):
                factors[v] = load(I8x64, p.weight, first * p.inputs + (k * vectors + 4 * v) * LANES)
            for r in range(ROWS):
                four = repeat(U8x64, x, start + min(r, last) * stride + k, 4)
                for v in range(vectors):
                    sums[r * vectors + v] = add_dots(sums[r * vectors + v], four, factors[v])
        for r in range(ROWS):
            for v in range(vectors):
                store(acc, r * p.outputs + first + LANES * v, sums[r * vectors + v])

    return block


_block_1, _block_2, _block_3, _block_4 = (_block(vectors) for vectors in (1, 2, 3, 4))


@inner
def add_products(p: Any, row: int, count: int, copied: Any, acc: Any) -> None:
    """The sums of `count` <= WAITING rows from `row` on into acc [WAITING, p.outputs]."""
    if p.signs.words > 0:
        add_signs(p, row, count, acc)
        return
    x, width = p.x.data, p.x.width
    for at in range(0, count, ROWS):
        rows, start, stride = min(ROWS, count - at), (row + at) * width, width
        if p.x.planes > 1:
            x, start, stride = copied, 0, p.inputs  # padding of rows may be anything: its weights are 0
            for r in range(rows):
                unpack_row(p.x, row + at + r, copied, r * stride)
        sums = advance(acc, at * p.outputs)
        for first in range(0, p.outputs, BLOCK):
            outputs = min(BLOCK, p.outputs - first)
            if outputs == 4 * LANES:
                _block_4(p, x, start, stride, rows - 1, first, sums)
            elif outputs == 3 * LANES:
                _block_3(p, x, start, stride, rows - 1, first, sums)
            elif outputs == 2 * LANES:
                _block_2(p, x, start, stride, rows - 1, first, sums)
            else:
                _block_1(p, x, start, stride, rows - 1, first, sums)


def product_of(x: Codes, weight: Weight) -> Packed:
    outputs, inputs = weight.codes.shape
    behind = -outputs % LANES
    return PRODUCT.pack(
        x=codes_of(x),
        weight=weight.blocked,
        begin=F.pad(weight.row_sums * -x.grid.zero_point, (0, behind)),
        inputs=(inputs + 3) // 4 * 4,
        outputs=outputs + behind,
        signs=_signs_of(x, weight),
    )


def _signs_of(x: Codes, weight: Weight) -> Packed:
    """The weights of a product of single bits; else none."""
    if x.grid.planes != 8 or not weight.is_of_signs:
        return SIGNS.pack(words=0, bits=None, channels=None)
    bits, channels = weight.signs
    return SIGNS.pack(words=channels.numel(), bits=bits, channels=channels)


def copied_bytes(inputs: int) -> int:
    """Memory for ROWS unpacked rows."""
    return (ROWS * (inputs + 4) + UNPACKED) // 64 * 64 + 64


@task(LINEAR)
def _linear(part: int, num_parts: int, a: Any) -> None:
    first, last = share(part, num_parts, a.rows)
    acc = view(I32x16, advance(a.scratch, part * a.between))
    copied = view(U8x64, advance(acc, WAITING * a.product.outputs))
    rest = advance(copied, a.copied)
    for row in range(first, last, WAITING):
        count = min(WAITING, last - row)
        add_products(a.product, row, count, copied, acc)
        call(a.epilogue.finish, (a.epilogue, acc, row, count, rest))


def linear(x: Codes, weight: Weight, epilogue: Epilogue) -> Codes | Tensor:
    outputs, inputs = weight.codes.shape
    stride = outputs + -outputs % LANES
    how = epilogue.of_rows(x, weight.row_sums.double())
    finish = finish_of(how, x.num_rows, outputs, Sums(np.int32, stride))
    if x.num_rows and outputs:
        num_parts = parts(x.num_rows * (outputs + inputs))
        copied = copied_bytes(inputs)
        scratch, between = scratch_bytes(num_parts, 4 * WAITING * stride + copied + finish.scratch)
        memory = {"scratch": scratch, "between": between, "copied": copied}
        given = {"product": product_of(x, weight), "rows": x.num_rows, "epilogue": finish.packed}
        _linear.run(num_parts, LINEAR.pack(**given, **memory))
    return finish.result
