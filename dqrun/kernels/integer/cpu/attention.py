"""`attention`: softmax and weighted sum of codes over the edges of each target, without a value per edge in memory.

Each row of the graph needs two passes over its edges: one for the largest logit; one, CHUNK edges at a time, for the
powers, their sum and the weighted sum of codes. LeakyReLU is monotonic, so that the largest logit is that of the
largest half. Rows that cross a boundary between threads are merged after all parts from each part's largest logit, sum
of powers and weighted sum.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dqrun.graphs import CSR
from dqrun.kernels.cpu.launch import first_place, inner, parts, share
from dqrun.kernels.cpu.routine import call
from dqrun.kernels.cpu.task import Task, advance, scratch_bytes, task, view
from dqrun.kernels.cpu.vector import F32x16, F64x16, splat, store
from dqrun.kernels.integer import reference
from dqrun.kernels.integer.codes import Codes
from dqrun.kernels.integer.cpu.epilogues import Sums, finish_of
from dqrun.kernels.integer.cpu.halves import logit_halves
from dqrun.kernels.integer.cpu.rows_of_codes import LANES, codes_of
from dqrun.kernels.integer.cpu.weighted import (
    ATTENTION,
    CHUNK,
    add_weighted,
    block_bytes,
    divide,
    find_largest,
    find_powers,
)
from dqrun.kernels.integer.epilogue import Epilogue
from dqrun.kernels.integer.stored import PLANES


def _summing(planes: int) -> Callable[..., None]:
    """The function that sums the edges of a row, for rows with `planes` codes in a byte."""
    add = add_weighted(planes)

    @inner
    def sum_edges(a: Any, row: int, first: int, last: int, acc: Any, state: Any, p: Any) -> None:
        """The weighted sum over these edges of a row, not yet divided, into acc, and its state (`weighted`)."""
        for place in range(0, a.total, LANES):
            store(acc, place, splat(F32x16, 0.0))
        for place in range(0, 3 * a.padded, LANES):
            store(state, place, splat(F32x16, 0.0))
        find_largest(a, row, first, last, state)
        for start in range(first, last, CHUNK):
            stop = min(start + CHUNK, last)
            find_powers(a, row, start, stop, state, p)
            add(a, start, stop, p, acc)

    return sum_edges


@inner
def _finish_row(a: Any, row: int, acc: Any, state: Any, sums: Any, rest: Any) -> None:
    """Divides by the sum of powers, averages over heads unless they are concatenated, and runs the epilogue."""
    divide(a, acc, state, sums)
    if not a.concat:
        _mean(a, sums)
    call(a.epilogue.finish, (a.epilogue, sums, row, 1, rest))


@inner
def _mean(a: Any, sums: Any) -> None:
    """The means over heads to the first places, in float32; a place is read before it is written."""
    each = a.x.channels // a.heads
    for c in range(each):
        mean = np.float32(0)
        for channel in range(c, a.x.channels, each):
            mean += np.float32(sums[channel])
        sums[c] = np.float64(mean / np.float32(a.heads))


def _part(planes: int) -> Task:
    """The task that sums and finishes rows."""
    sum_edges = _summing(planes)

    @task(ATTENTION)
    def attention_part(part: int, num_parts: int, a: Any) -> None:
        first, last = share(part, num_parts, a.num_edges)
        row = first_place(a.rowptr, a.num_nodes, first)
        if a.rowptr[row] > first:
            row -= 1
        sums = view(F64x16, advance(a.scratch, part * a.each))
        acc = view(F32x16, advance(sums, a.total))
        state = advance(acc, a.total)
        p = advance(state, 3 * a.padded)
        rest = advance(a.scratch, part * a.each + 12 * a.total + 12 * a.padded + 4 * CHUNK * a.padded)
        a.cut_rows[2 * part], a.cut_rows[2 * part + 1] = -1, -1
        while row < a.num_nodes and (a.rowptr[row] < last or part == num_parts - 1):
            start, stop = max(first, a.rowptr[row]), min(last, a.rowptr[row + 1])
            if start == a.rowptr[row] and stop == a.rowptr[row + 1]:
                sum_edges(a, row, start, stop, acc, state, p)
                _finish_row(a, row, acc, state, sums, rest)
            else:
                slot = 2 * part + (1 if start == a.rowptr[row] else 0)
                a.cut_rows[slot] = row
                cut, cut_state = advance(a.cut, slot * a.total), advance(a.cut_states, slot * 3 * a.padded)
                sum_edges(a, row, start, stop, cut, cut_state, p)
            row += 1

    return attention_part


_PARTS = {planes: _part(planes) for planes in PLANES}


@inner
def _merge(a: Any, acc: Any, state: Any, other: Any, other_state: Any) -> None:
    """Adds another part's sums of a row, both brought to the larger of the largest logits.

    Of each head the factors of both take the place of its largest logit until all places are added.
    """
    for c in range(a.total):
        head = a.places[c]
        top = max(state[head], other_state[head])
        acc[c] = acc[c] * np.exp(state[head] - top) + other[c] * np.exp(other_state[head] - top)
    for head in range(a.padded):
        top = max(state[head], other_state[head])
        ours, theirs = np.exp(state[head] - top), np.exp(other_state[head] - top)
        state[head] = top
        for place in (a.padded + head, 2 * a.padded + head):
            state[place] = state[place] * ours + other_state[place] * theirs


@task(ATTENTION)
def _finish_cut_rows(part: int, num_parts: int, a: Any) -> None:
    """Rows that several parts summed, in order, each added up in the slot of its first part; run as one part."""
    sums, rest, at = view(F64x16, a.scratch), advance(a.scratch, 8 * a.total), -1
    for slot in range(a.slots + 1):
        row = a.cut_rows[slot] if slot < a.slots else a.num_nodes
        if row < 0:
            continue
        acc, state = advance(a.cut, at * a.total), advance(a.cut_states, at * 3 * a.padded)
        if at >= 0 and a.cut_rows[at] == row:
            _merge(a, acc, state, advance(a.cut, slot * a.total), advance(a.cut_states, slot * 3 * a.padded))
        else:
            if at >= 0:
                _finish_row(a, a.cut_rows[at], acc, state, sums, rest)
            at = slot


def _places(h: Codes, heads: int, between: int) -> Tensor:
    """The head of each place of a sum (0 for places that hold nothing)."""
    width, places = h.data.size(1), torch.zeros(h.grid.planes, between, dtype=torch.int32)
    head = torch.arange(h.channels, dtype=torch.int32) // max(h.channels // heads, 1)
    places[:, :width] = F.pad(head, (0, h.grid.planes * width - h.channels)).view(-1, width)
    return places.flatten()


def attention(
    csr: CSR,
    h: Codes,
    a_source: Tensor,
    a_target: Tensor,
    negative_slope: float,
    concat: bool,
    epilogue: Epilogue,
) -> Codes | Tensor:
    if csr.short_col.dtype != torch.int32:  # of more than 2^31 nodes
        return reference.attention(csr, h, a_source, a_target, negative_slope, concat, epilogue)
    heads, channels = a_source.shape
    planes, block = h.grid.planes, block_bytes(h.grid.planes)
    padded, between = (heads + LANES - 1) // LANES * LANES, (h.data.size(1) + block - 1) // block * block
    total, outputs = planes * between, h.channels if concat else channels
    finish = finish_of(epilogue, csr.num_nodes, outputs, Sums(np.float64, total))
    if csr.num_nodes and h.channels:
        source, target = logit_halves(h, a_source, a_target)
        num_parts = parts((csr.num_edges + csr.num_nodes) * h.channels)
        size = 12 * total + 12 * padded + 4 * CHUNK * padded + finish.scratch
        scratch, each = scratch_bytes(num_parts, size)
        arguments = ATTENTION.pack(
            x=codes_of(h),
            rowptr=csr.rowptr,
            col=csr.short_col,
            num_nodes=csr.num_nodes,
            num_edges=csr.num_edges,
            source=source,
            target=target,
            heads=heads,
            padded=padded,
            concat=concat,
            slope=negative_slope,
            places=_places(h, heads, between),
            total=total,
            between=between,
            cut=torch.empty(num_parts * 2 * total + LANES),
            cut_states=torch.empty(num_parts * 6 * padded),
            cut_rows=torch.empty(num_parts * 2, dtype=torch.int64),
            slots=2 * num_parts,
            epilogue=finish.packed,
            scratch=scratch,
            each=each,
        )
        _PARTS[planes].run(num_parts, arguments)
        _finish_cut_rows.run(1, arguments)
    return finish.result
