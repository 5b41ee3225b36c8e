"""Groups the edges of one large graph by target with a counting sort, compiled."""

from __future__ import annotations

import numpy as np

from dqrun.kernels.cpu.launch import Array
from dqrun.kernels.cpu.neighbours import serial


@serial
def group(source: Array, target: Array, num_nodes: int, with_places: bool) -> tuple[Array, Array, Array]:
    """Pointer int64 [num_nodes + 1], sources [E] of the type of `source`, grouped by target in the order of the edges,
    and the original position of each edge, int64 [E] (empty without `with_places`).
    """
    pointer = np.zeros(num_nodes + 2, np.int64)  # of node i at i + 2, so that filling moves it to i + 1
    for e in range(target.size):
        pointer[target[e] + 2] += 1
    for i in range(2, num_nodes + 2):
        pointer[i] += pointer[i - 1]
    col, places = np.empty_like(source), np.empty(source.size if with_places else 0, np.int64)
    for e in range(target.size):
        at = pointer[target[e] + 1]
        col[at] = source[e]
        if with_places:
            places[at] = e
        pointer[target[e] + 1] = at + 1
    return pointer[: num_nodes + 1].copy(), col, places


@serial
def loop(pointer: Array, col: Array, with_places: bool) -> tuple[Array, Array, Array]:
    """The same for the graph with one self-loop per node, after the node's other edges. The position of a loop is that
    of the node's last loop in `col`, or -1.
    """
    num_nodes = pointer.size - 1
    made = np.zeros(num_nodes + 1, np.int64)
    for i in range(num_nodes):
        loops = 0
        for at in range(pointer[i], pointer[i + 1]):
            if col[at] == i:
                loops += 1
        made[i + 1] = made[i] + pointer[i + 1] - pointer[i] - loops + 1
    looped, places = np.empty(made[num_nodes], col.dtype), np.empty(made[num_nodes] if with_places else 0, np.int64)
    for i in range(num_nodes):
        e, last = made[i], -1
        for at in range(pointer[i], pointer[i + 1]):
            if col[at] == i:
                last = at
                continue
            looped[e] = col[at]
            if with_places:
                places[e] = at
            e += 1
        looped[e] = i
        if with_places:
            places[e] = last
    return made, looped, places
