"""Products of codes of 1 bit with signs, by counting the bits that are set in both.

With b = 1 for a weight of 1 and b = 0 for one of -1, the sum of x w is 2 (bits of x and b) - (bits of x). Channels may
stand in any order, if it is the same in both: rows of codes are read as they are stored, 32 bits at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dqrun.kernels.cpu.launch import inner
from dqrun.kernels.cpu.structure import INTEGER, WORDS, Structure
from dqrun.kernels.cpu.vector import I32x16, count_ones, load, registers, repeat, splat, store
from dqrun.kernels.integer.cpu.rows_of_codes import LANES

SIGNS = Structure(
    "Signs",
    words=INTEGER,  # of 32 bits in a row; 0: the product is one of bytes
    bits=WORDS,  # of weights, [outputs / LANES, words, LANES] (`Weight.signs`)
    channels=WORDS,  # [words]: the bits that belong to a channel
)
VECTORS = 4  # of outputs beside each other


def _block(vectors: int) -> Callable[..., None]:
    @inner
    def block(signs: Any, begin: Any, x: Any, start: int, first: int, acc: Any, at: int) -> None:
        """acc[at + first..] of the row of codes x[start..], LANES * vectors outputs."""
        sums, ones = registers(I32x16, vectors), splat(I32x16, 0)
        for v in range(vectors):
            sums[v] = splat(I32x16, 0)
        for k in range(signs.words):
            word = repeat(I32x16, x, start + 4 * k, 1)
            ones = ones + count_ones(word & signs.channels[k])
            for v in range(vectors):
                bits = load(I32x16, signs.bits, (first + LANES * v) * signs.words + k * LANES)
                sums[v] = sums[v] + count_ones(word & bits)
        for v in range(vectors):
            both = sums[v] + sums[v] - ones
            store(acc, at + first + LANES * v, both + load(I32x16, begin, first + LANES * v))

    return block


_block_1, _block_4 = _block(1), _block(VECTORS)


@inner
def add_signs(p: Any, row: int, count: int, acc: Any) -> None:
    """The sums of `count` rows from `row` on into acc [count, p.outputs]; p: a `linear.PRODUCT`."""
    for r in range(count):
        start, first = (row + r) * p.x.width, 0
        while first < p.outputs:
            if p.outputs - first >= VECTORS * LANES:
                _block_4(p.signs, p.begin, p.x.data, start, first, acc, r * p.outputs)
                first += VECTORS * LANES
            else:
                _block_1(p.signs, p.begin, p.x.data, start, first, acc, r * p.outputs)
                first += LANES
