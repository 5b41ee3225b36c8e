"""Parts of a large graph: sampled neighbourhoods, induced subgraphs, blocks of targets. Compiled, in one thread that
releases Python's lock, so that the next batch is prepared during a training step.

`place`: scratch memory, int64 [N], -1 everywhere. Each function changes only the elements of its nodes and restores
them, so that its cost does not depend on the size of the graph. Edges of a part keep their order in the graph.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar, cast

import numba
import numpy as np

from dqrun.kernels.cpu.cache import MendingCache
from dqrun.kernels.cpu.launch import Array, inner

F = TypeVar("F", bound=Callable[..., Any])


def serial(function: F) -> F:
    """Compiles a function that may run at the same time as kernels: it starts no threads and takes no lock."""
    compiled: Any = numba.njit(nogil=True, error_model="numpy")(function)
    with suppress(RuntimeError):
        compiled._cache = MendingCache(function)
    return cast(F, compiled)


@inner
def below(state: Array, limit: int) -> int:
    """A random integer in 0..limit - 1; state: uint64 [1] of the generator splitmix64 (Steele et al., 2014)."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    drawn = np.int64(np.float64(z >> np.uint64(11)) * (1.0 / 9007199254740992.0) * limit)
    return min(limit - 1, int(drawn))


@inner
def choose(count: int, total: int, state: Array, chosen: Array) -> None:
    """`count` different integers of 0..total - 1, each set equally likely (Floyd's algorithm), ascending."""
    for k in range(count):
        last = total - count + k
        drawn = below(state, last + 1)
        for i in range(k):
            if chosen[i] == drawn:
                drawn = last
                break
        i = k
        while i > 0 and chosen[i - 1] > drawn:
            chosen[i] = chosen[i - 1]
            i -= 1
        chosen[i] = drawn


@inner
def grown(values: Array, size: int) -> Array:
    """The same array, or one of twice the size with the same beginning, so that `size` elements fit."""
    if size <= values.size:
        return values
    larger = np.empty(max(size, 2 * values.size), np.int64)
    larger[: values.size] = values
    return larger


@serial
def sample(
    rowptr: Array, col: Array, seeds: Array, fanouts: Array, loops: int, state: Array, place: Array
) -> tuple[Array, Array, Array, Array]:
    """Nodes [n] (the seeds first, then by their distance), pointer [n + 1], sources [e] as places in `nodes`, and
    positions of the edges in `col` [e].

    A node at distance h has at most fanouts[h] of its edges, drawn without replacement; those at the last distance have
    none. `loops`: 1 where the last edge of each node is its self-loop, which is always kept.
    """
    nodes, pointer = np.empty(4 * seeds.size + 16, np.int64), np.zeros(4 * seeds.size + 17, np.int64)
    source, edge = np.empty(8 * seeds.size + 16, np.int64), np.empty(8 * seeds.size + 16, np.int64)
    chosen = np.empty(max(1, fanouts.max()), np.int64)
    n, e, begin = seeds.size, 0, 0
    for i in range(n):
        nodes[i] = seeds[i]
        place[seeds[i]] = i
    for hop in range(fanouts.size + 1):
        end = n
        for target in range(begin, end):
            first, last = rowptr[nodes[target]], rowptr[nodes[target] + 1]
            total = last - first - loops
            most = fanouts[hop] if hop < fanouts.size else 0
            count = min(total, most)
            nodes, source, edge = grown(nodes, n + count), grown(source, e + count + 1), grown(edge, e + count + 1)
            if count < total:
                choose(count, total, state, chosen)
            for k in range(count):
                at = first + (chosen[k] if count < total else k)
                if place[col[at]] < 0:
                    place[col[at]] = n
                    nodes[n] = col[at]
                    n += 1
                source[e], edge[e] = place[col[at]], at
                e += 1
            if loops:
                source[e], edge[e] = target, last - 1
                e += 1
            pointer = grown(pointer, n + 2)
            pointer[target + 1] = e
        begin = end
    for i in range(n):
        place[nodes[i]] = -1
    return nodes[:n].copy(), pointer[: n + 1].copy(), source[:e].copy(), edge[:e].copy()


@serial
def induce(rowptr: Array, col: Array, nodes: Array, place: Array) -> tuple[Array, Array, Array]:
    """Pointer [n + 1], sources and positions of all edges between `nodes` [n]; see `sample`."""
    pointer, count = np.zeros(nodes.size + 1, np.int64), 0
    for i in range(nodes.size):
        place[nodes[i]] = i
    for i in range(nodes.size):
        for at in range(rowptr[nodes[i]], rowptr[nodes[i] + 1]):
            if place[col[at]] >= 0:
                count += 1
        pointer[i + 1] = count
    source, edge, e = np.empty(count, np.int64), np.empty(count, np.int64), 0
    for i in range(nodes.size):
        for at in range(rowptr[nodes[i]], rowptr[nodes[i] + 1]):
            if place[col[at]] >= 0:
                source[e], edge[e] = place[col[at]], at
                e += 1
    for i in range(nodes.size):
        place[nodes[i]] = -1
    return pointer, source, edge


@serial
def neighbourhood(rowptr: Array, col: Array, first: int, last: int, place: Array) -> tuple[Array, Array]:
    """Nodes [n], those in first..last - 1 and then all sources of their edges, and these sources as places in it."""
    begin, end = rowptr[first], rowptr[last]
    nodes, source = np.empty(last - first + end - begin, np.int64), np.empty(end - begin, np.int64)
    n = last - first
    for i in range(n):
        nodes[i] = first + i
        place[first + i] = i
    for at in range(begin, end):
        if place[col[at]] < 0:
            place[col[at]] = n
            nodes[n] = col[at]
            n += 1
        source[at - begin] = place[col[at]]
    for i in range(n):
        place[nodes[i]] = -1
    return nodes[:n].copy(), source


@serial
def transpose(pointer: Array, source: Array, row: Array, t_pointer: Array, t_col: Array, t_edge: Array) -> None:
    """Fills the target of each edge and the transposed order, as `graphs.CSR` has them; t_pointer: zeros [n + 1]."""
    for target in range(pointer.size - 1):
        for e in range(pointer[target], pointer[target + 1]):
            row[e] = target
            t_pointer[source[e] + 1] += 1
    for i in range(t_pointer.size - 1):
        t_pointer[i + 1] += t_pointer[i]
    for e in range(source.size):  # afterwards the starts have moved to the ends, the starts of the next node
        at = t_pointer[source[e]]
        t_col[at], t_edge[at] = row[e], e
        t_pointer[source[e]] += 1
    for i in range(t_pointer.size - 1, 0, -1):
        t_pointer[i] = t_pointer[i - 1]
    t_pointer[0] = 0
