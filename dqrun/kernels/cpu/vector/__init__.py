"""A vector type for kernels: a fixed number of lanes of one type, held in registers of the processor.

Kernels are ordinary Python loops over such values. numba compiles them, and LLVM maps a vector of any width to the
processor's registers (one, several, or scalar ones). The kind `F32x16` has 16 lanes of float32:

    @inner
    def scale(x, y, count, factor):  # pointers to float32; count >= 0
        for place in range(0, count, F32x16.lanes):
            v = load_first(F32x16, x, place, count - place)
            store_first(y, place, maximum(v * factor, 0.0), count - place)

Operators: + - * / & | ^ ~ << >> and comparisons, which return a mask (`B16`). A number in an operation with a vector is
converted to the type of the lanes and used in each lane. >> of signed lanes is arithmetic. Each operation rounds once;
only `fma` may round a product and a sum together. Vectors can be local variables, arguments and results of `inner`
functions, and elements of `registers`: an array with constant indices, for blocks of sums in unrolled loops.

    memory      load, load_first, repeat, store, store_first, gather, prefetch, registers
    conversion  splat, convert, cast_bits, nearest (float64 to int32, half to even)
    arithmetic  fma, minimum, maximum, rint, where, add_dots (products of bytes, four to a lane),
                count_ones
    lanes       count_lanes, lanes_below, join, low_half, high_half, interleave, permute, word, from_word,
                lowest_lane, highest_lane, sum_lanes; of words count_bits, lowest_bit

`minimum(v, w)` is v where v < w, else w; `maximum` likewise. So if v or w is NaN, the result is w.
"""

from dqrun.kernels.cpu.vector.arithmetic import add_dots, count_ones, fma, maximum, minimum, nearest, rint, where
from dqrun.kernels.cpu.vector.arrangement import (
    count_bits,
    count_lanes,
    from_word,
    high_half,
    highest_lane,
    interleave,
    join,
    lanes_below,
    low_half,
    lowest_bit,
    lowest_lane,
    permute,
    sum_lanes,
    word,
)
from dqrun.kernels.cpu.vector.conversion import cast_bits, convert, splat
from dqrun.kernels.cpu.vector.features import HAS_AVX512F, HAS_VNNI
from dqrun.kernels.cpu.vector.kinds import (
    B16,
    B32,
    F32x8,
    F32x16,
    F32x32,
    F64x8,
    F64x16,
    I8x16,
    I8x64,
    I32x8,
    I32x16,
    I32x32,
    I64x8,
    I64x16,
    U8x16,
    U8x32,
    U8x64,
    U16x32,
    U16x64,
    U32x16,
    U32x32,
    Vector,
)
from dqrun.kernels.cpu.vector.memory import gather, load, load_first, prefetch, registers, repeat, store, store_first
from dqrun.kernels.cpu.vector.operators import register_operators

register_operators()

__all__ = [
    "B16",
    "B32",
    "HAS_AVX512F",
    "HAS_VNNI",
    "F32x8",
    "F32x16",
    "F32x32",
    "F64x8",
    "F64x16",
    "I8x16",
    "I8x64",
    "I32x8",
    "I32x16",
    "I32x32",
    "I64x8",
    "I64x16",
    "U8x16",
    "U8x32",
    "U8x64",
    "U16x32",
    "U16x64",
    "U32x16",
    "U32x32",
    "Vector",
    "add_dots",
    "cast_bits",
    "convert",
    "count_bits",
    "count_lanes",
    "count_ones",
    "fma",
    "from_word",
    "gather",
    "high_half",
    "highest_lane",
    "interleave",
    "join",
    "lanes_below",
    "load",
    "load_first",
    "low_half",
    "lowest_bit",
    "lowest_lane",
    "maximum",
    "minimum",
    "nearest",
    "permute",
    "prefetch",
    "registers",
    "repeat",
    "rint",
    "splat",
    "store",
    "store_first",
    "sum_lanes",
    "where",
    "word",
]
