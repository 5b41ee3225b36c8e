"""Numbers, texts, switches and grids of a program file's structure: plain data for JSON, and its strict readers."""

from __future__ import annotations

import math
import types
from typing import Any, get_args

import torch

from dqrun.integer.container import Damage
from dqrun.kernels.integer import CodeGrid, Grid, RowGrid


def scalar(where: str, hint: Any, value: object) -> Any:
    """A value of the declared type `hint`. An integer is accepted for a float; true and false are not numbers."""
    kinds = get_args(hint) or (hint,)
    if value is None and types.NoneType in kinds:
        return None
    number = type(value) is int and abs(value) < 2**53
    if float in kinds and (number or (type(value) is float and math.isfinite(value))):
        return float(value)  # type: ignore[arg-type]
    if (number and int in kinds) or (type(value) in kinds and type(value) in (bool, str)):
        return value
    names = {str: "text", bool: "true or false", int: "a whole number", float: "a number", types.NoneType: "null"}
    raise Damage(f"{where} must be {' or '.join(names[kind] for kind in kinds)}, got {repr(value)[:40]}")


def plain_grid(grid: Grid | None) -> list[Any] | None:
    """A grid as plain data. A scale that is a float32 (as trained) is written with 9 digits, another as a string."""
    if grid is None:
        return None
    if isinstance(grid, RowGrid):
        return ["row", grid.bits, grid.offset, grid.power_of_two, grid.headroom, grid.share, grid.spare]
    short = float(f"{grid.scale:.9g}")
    return [grid.bits, short if _float32(short) == grid.scale else repr(grid.scale), grid.zero_point, grid.spare]


def read_grid(where: str, plain: object) -> Grid:
    """The inverse of `plain_grid`."""
    if isinstance(plain, list) and plain[:1] == ["row"]:
        return _read_row_grid(where, plain)
    if not isinstance(plain, list) or len(plain) != 4:
        raise Damage(f"{where} must be [bits, scale, zero point, spare codes]")
    bits, zero_point, spare = (scalar(where, int, plain[i]) for i in (0, 2, 3))
    try:
        scale = float(plain[1]) if isinstance(plain[1], str) else _float32(scalar(where, float, plain[1]))
    except (ValueError, OverflowError):
        raise Damage(f"{where} must have a number as its scale, got {str(plain[1])[:40]!r}") from None
    return CodeGrid(bits, scale, zero_point, spare)


def _read_row_grid(where: str, plain: list[Any]) -> RowGrid:
    if len(plain) != 7:
        raise Damage(f'{where} must be ["row", bits, offset, power of two, headroom, share, spare codes]')
    kinds = int, str, bool, float, float | None, int
    bits, offset, power_of_two, headroom, share, spare = (
        scalar(where, kind, value) for kind, value in zip(kinds, plain[1:], strict=True)
    )
    return RowGrid(bits, offset[:40], power_of_two, headroom, share, spare)


def _float32(value: float) -> float:
    return torch.tensor(value, dtype=torch.float32).item()
