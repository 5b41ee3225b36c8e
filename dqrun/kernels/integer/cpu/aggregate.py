"""`aggregate`: sums of codes over edges, with the epilogue in the same pass.

Edges are split evenly over threads. A row that crosses a boundary is finished after all parts, from what each summed:
a hub with half of all edges costs no more than its share.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dqrun.graphs import CSR
from dqrun.kernels.cpu.launch import first_place, inner, parts, share
from dqrun.kernels.cpu.routine import call
from dqrun.kernels.cpu.structure import BYTES, DOUBLES, INTEGER, INTEGERS, WORDS, Structure
from dqrun.kernels.cpu.task import Task, advance, scratch_bytes, task, view
from dqrun.kernels.cpu.vector import F64x16, I32x16, I64x16, U8x16, convert, load, store
from dqrun.kernels.integer import reference
from dqrun.kernels.integer.codes import Codes
from dqrun.kernels.integer.cpu.epilogues import Sums, finish_of
from dqrun.kernels.integer.cpu.finishing import BEHIND, EPILOGUE
from dqrun.kernels.integer.cpu.rows import padded_bytes, sum_codes
from dqrun.kernels.integer.cpu.rows_of_codes import CODES, LANES, codes_of
from dqrun.kernels.integer.epilogue import Epilogue
from dqrun.kernels.integer.stored import PLANES

PLAIN, OWN, MEAN = 0, 1, 2  # after the sum over edges: nothing; add the row's own codes; divide by the number of edges

ROWS = 32  # rows whose sums are kept in the cache for one call of the epilogue
HEAD = 64  # bytes of scratch in front of sums: the bounds of a part of a row


def _structure(col: Any, sums: Any) -> Structure:
    return Structure(
        "Aggregate",
        x=CODES,
        rowptr=INTEGERS,
        col=col,  # the source of each edge
        num_rows=INTEGER,
        num_edges=INTEGER,
        mean=INTEGER,  # whether sums are divided by the number of edges of the row
        cut=sums,  # [parts, 2, places of a sum] and cut_rows [parts, 2]: what parts sum for rows that begin or end in
        cut_rows=INTEGERS,  # another part
        slots=INTEGER,  # twice the parts
        epilogue=EPILOGUE,
        scratch=BYTES,
        between=INTEGER,  # bytes of scratch of a part
    )


def _finish(kind: Any) -> Any:
    """The function that hands sums of rows to the epilogue."""

    @inner
    def finish(a: Any, row: int, rows: int, acc: Any, rest: Any) -> None:
        if not a.mean:
            call(a.epilogue.finish, (a.epilogue, acc, row, rows, rest))
            return
        stride, sums = a.epilogue.stride, view(F64x16, rest)
        for r in range(rows):
            count = np.float64(max(a.rowptr[row + r + 1] - a.rowptr[row + r], 1))
            for place in range(r * stride, r * stride + a.epilogue.channels, LANES):
                store(sums, place, convert(F64x16, load(kind, acc, place)) / count)
        call(a.epilogue.finish, (a.epilogue, sums, row, rows, advance(rest, 8 * ROWS * stride)))

    return finish


def _tasks(col: Any, sums: Any, planes: int) -> tuple[Structure, Task, Task]:
    """The arguments, the task that sums and finishes rows, and the one that finishes those that several parts summed.

    Both leave a mean's float64 sums in the scratch memory, in front of the epilogue's.
    """
    structure, kind = _structure(col, sums), I32x16 if sums is WORDS else F64x16
    finish, sum_edges = _finish(kind), sum_codes(planes)

    @task(structure)
    def aggregate_part(part: int, num_parts: int, a: Any) -> None:
        first, last = share(part, num_parts, a.num_edges)
        row = first_place(a.rowptr, a.num_rows, first)
        end = first_place(a.rowptr, a.num_rows, last) if part < num_parts - 1 else a.num_rows
        stride, bounds = a.epilogue.stride, view(I64x16, advance(a.scratch, part * a.between))
        acc = view(kind, advance(bounds, HEAD // 8))
        rest = view(U8x16, advance(acc, ROWS * stride))
        a.cut_rows[2 * part] = row - 1 if a.rowptr[row] > first else -1
        a.cut_rows[2 * part + 1] = -1
        if end > row and a.rowptr[end] > last:
            end -= 1
            a.cut_rows[2 * part + 1] = end
        for slot in range(2 * part, 2 * part + 2):
            cut_row = a.cut_rows[slot]
            if cut_row >= 0:
                bounds[0], bounds[1] = max(first, a.rowptr[cut_row]), min(last, a.rowptr[cut_row + 1])
                sum_edges(a, bounds, 0, 1, advance(a.cut, slot * stride))
        for start in range(row, end, ROWS):
            rows = min(ROWS, end - start)
            sum_edges(a, a.rowptr, start, rows, acc)
            finish(a, start, rows, acc, rest)

    @task(structure)
    def finish_cut_rows(part: int, num_parts: int, a: Any) -> None:
        stride, at = a.epilogue.stride, -1
        for slot in range(a.slots + 1):
            row = a.cut_rows[slot] if slot < a.slots else a.num_rows
            if row < 0:
                continue
            acc = advance(a.cut, at * stride)
            if at >= 0 and a.cut_rows[at] == row:
                for place in range(stride):
                    acc[place] += a.cut[slot * stride + place]
            else:
                if at >= 0:
                    finish(a, a.cut_rows[at], 1, acc, a.scratch)
                at = slot

    return structure, aggregate_part, finish_cut_rows


_TASKS = {
    (col, sums, planes): _tasks(col_kind, sums_kind, planes)
    for col, col_kind in ((torch.int32, WORDS), (torch.int64, INTEGERS))
    for sums, sums_kind in ((torch.int32, WORDS), (torch.float64, DOUBLES))
    for planes in PLANES
}


def sum_rows(
    rowptr: Tensor, col: Tensor | None, x: Codes, mode: int, self_weight: float, epilogue: Epilogue
) -> Codes | Tensor:
    """`aggregate` over rowptr and col (None: each row of x once, in order), with what `mode` says done to the sums."""
    num_rows, width, planes = rowptr.numel() - 1, x.data.size(1), x.grid.planes
    stride = (planes - 1) * width + padded_bytes(width) + BEHIND
    sums = torch.int32 if x.numbers is None else torch.float64
    given = np.int32 if sums == torch.int32 and mode != MEAN else np.float64
    own = (x, self_weight) if mode == OWN else (None, 0.0)
    finish = finish_of(epilogue, num_rows, x.channels, Sums(given, stride, *own))
    if num_rows and x.channels:
        if col is None:
            col = torch.arange(x.num_rows, dtype=torch.int32 if x.num_rows < 2**31 else torch.int64)
        structure, aggregate_part, finish_cut_rows = _TASKS[col.dtype, sums, planes]
        num_parts = parts((col.numel() + num_rows) * width)
        size = HEAD + (16 if mode == MEAN else 8) * ROWS * stride + finish.scratch
        scratch, between = scratch_bytes(num_parts, size)
        arguments = structure.pack(
            x=codes_of(x),
            rowptr=rowptr.contiguous(),
            col=col.contiguous(),
            num_rows=num_rows,
            num_edges=col.numel(),
            mean=mode == MEAN,
            cut=torch.empty(num_parts * 2 * stride, dtype=sums),
            cut_rows=torch.empty(num_parts * 2, dtype=torch.int64),
            slots=2 * num_parts,
            epilogue=finish.packed,
            scratch=scratch,
            between=between,
        )
        aggregate_part.run(num_parts, arguments)
        if num_parts > 1:
            finish_cut_rows.run(1, arguments)
    return finish.result


def aggregate(csr: CSR, x: Codes, self_weight: float | None, epilogue: Epilogue) -> Codes | Tensor:
    if self_weight is not None and x.numbers is not None and epilogue.in_steps:
        return reference.aggregate(csr, x, self_weight, epilogue)  # from grids of rows to one of all: no network has it
    mode = PLAIN if self_weight is None else OWN
    return sum_rows(csr.rowptr, csr.short_col, x, mode, self_weight or 0.0, epilogue)


def aggregate_mean(csr: CSR, x: Codes, epilogue: Epilogue) -> Codes | Tensor:
    return sum_rows(csr.rowptr, csr.short_col, x, MEAN, 0.0, epilogue)
