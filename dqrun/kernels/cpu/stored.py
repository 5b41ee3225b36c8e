"""Rows of stored codes as float32: compiled, in one pass, without Python's lock, as `neighbours` is."""

from __future__ import annotations

import numpy as np

from dqrun.kernels.cpu.launch import Array
from dqrun.kernels.cpu.neighbours import serial


@serial
def rows(codes: Array, lowest: Array, step: Array, nodes: Array, halves: bool, out: Array) -> None:
    """Fills out, float32 [n, F], with lowest + code * step of the rows `nodes`.

    codes: uint8 [N, F], or with `halves` two codes of 4 bits in a byte, the first one in its low half. lowest, step:
    float32 [N, 1] or [1, F].
    """
    by_column = lowest.shape[0] == 1
    for i in range(nodes.size):
        node = nodes[i]
        row = 0 if by_column else node
        for k in range(out.shape[1]):
            byte = np.int64(codes[node, k >> 1 if halves else k])
            code = (byte >> ((k & 1) << 2)) & 15 if halves else byte
            column = k if by_column else 0
            out[i, k] = np.float32(code) * step[row, column] + lowest[row, column]
