"""Tasks: parts of work that get arguments by name, and routines that compiled code calls by address."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from dqrun.kernels.cpu.launch import driver, share
from dqrun.kernels.cpu.routine import call, routine, runner
from dqrun.kernels.cpu.structure import BYTES, DOUBLES, FLOATS, INTEGER, REAL, Structure, filled
from dqrun.kernels.cpu.task import advance, scratch_bytes, task, view
from dqrun.kernels.cpu.vector import F32x16

SCALE = Structure("Scale", factor=REAL, routine=INTEGER)
WORK = Structure("Work", x=FLOATS, y=FLOATS, size=INTEGER, scale=SCALE, scratch=BYTES, between=INTEGER)


@routine(SCALE, FLOATS, INTEGER)
def multiply(s: Any, x: Any, count: int) -> None:
    for i in range(count):
        x[i] = x[i] * s.factor


@task(WORK)
def scaled(part: int, num_parts: int, a: Any) -> None:
    """y = factor * x, through the scratch memory of the part."""
    first, last = share(part, num_parts, a.size)
    own = view(F32x16, advance(a.scratch, part * a.between))
    for i in range(first, last):
        own[i - first] = a.x[i]
    call(a.scale.routine, (a.scale, own, last - first))
    for i in range(first, last):
        a.y[i] = own[i - first]


@pytest.mark.parametrize("num_parts", [1, 3])
def test_parts_of_a_task(num_parts: int) -> None:
    x, y = torch.arange(100, dtype=torch.float32), torch.zeros(100)
    scratch, between = scratch_bytes(num_parts, 400)
    scale = SCALE.pack(factor=2.5, routine=multiply.address)
    scaled.run(num_parts, WORK.pack(x=x, y=y, size=100, scale=scale, scratch=scratch, between=between))
    assert torch.equal(y, x * 2.5)


def test_fields_are_given_by_their_names_and_types() -> None:
    structure = Structure("Test", x=DOUBLES, count=INTEGER)
    with pytest.raises(TypeError, match=r"given or missing .*'count'"):
        structure.pack(x=None)
    with pytest.raises(TypeError, match=r"x takes contiguous memory of torch\.float64"):
        structure.pack(x=torch.zeros(3), count=3)
    with pytest.raises(TypeError, match="x takes contiguous memory"):
        structure.pack(x=torch.zeros(3, 3, dtype=torch.float64).T[:, :2], count=3)


@pytest.mark.parametrize(
    "fields",
    [
        {"count": INTEGER, "x": DOUBLES},
        {"x": FLOATS, "count": INTEGER},
        {"x": DOUBLES, "count": REAL},
        {"x": DOUBLES, "number": INTEGER},
        {"x": DOUBLES, "count": Structure("Count", count=INTEGER)},
    ],
)
def test_structures_with_other_fields_are_other_types(fields: dict[str, Any]) -> None:
    """One type would read fields of the one at places of the other."""
    one = Structure("Same", x=DOUBLES, count=INTEGER)
    assert one == Structure("Same", x=DOUBLES, count=INTEGER)
    assert one != Structure("Same", **fields) and one.name != Structure("Same", **fields).name


def test_inner_structures_with_other_fields_make_other_types() -> None:
    inner = [Structure("Inner", **{name: INTEGER}) for name in ("a", "b")]
    assert Structure("Outer", inner=inner[0]) != Structure("Outer", inner=inner[1])


POINT = Structure("Point", x=DOUBLES, size=INTEGER, factor=REAL)


@task(POINT)
def multiplied(part: int, num_parts: int, a: Any) -> None:
    first, last = share(part, num_parts, a.size)
    for i in range(first, last):
        a.x[i] = a.x[i] * a.factor


@driver
def multiply_twice(loop: int, address: int, num_parts: int, x: Any) -> None:
    for factor in (2.0, 5.0):
        call(loop, (address, num_parts, filled(POINT, (x, x.size, factor))))


@pytest.mark.parametrize("num_parts", [1, 3])
def test_kernels_run_tasks_with_structures_that_they_fill(num_parts: int) -> None:
    x = np.arange(100.0)
    multiply_twice(runner(num_parts), multiplied.address, num_parts, x)
    assert np.array_equal(x, 10 * np.arange(100.0))


def test_structures_that_kernels_fill_take_fields_of_their_types() -> None:
    with pytest.raises(AssertionError, match=r"Point_.* takes"):
        multiply_twice(runner(1), multiplied.address, 1, np.zeros(3, np.float32))
