"""Weights and features of edges that a file holds as arrays: their shapes, types and ranges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dqrun.errors import DataError

EDGE_ARRAYS = ("edge_weight", "edge_attr")
MOST_CATEGORIES = 10_000  # limit, because each becomes a row of an embedding


def edge_data(where: str, arrays: Mapping[str, NDArray[Any]], num_edges: int) -> dict[str, Any]:
    """The arrays EDGE_ARRAYS as `UserGraphs` has them: `edge_weight` float32 [E]; `edge_attr` float32 [E, D] or, of
    integers [E], int64 categories.

    `where`: name of the file for errors. Raises DataError for another shape, negative weights, numbers that do not fit
    float32, and categories out of range.
    """
    found: dict[str, Any] = dict.fromkeys(EDGE_ARRAYS)
    for name in EDGE_ARRAYS:
        if name not in arrays:
            continue
        values = arrays[name]
        if values.dtype.kind not in "iuf" or values.ndim not in (1, 2) or values.shape[-1] == 0 < num_edges:
            got = f"{values.dtype} with shape {list(values.shape)}"
            raise DataError(f"{where}: {name} must hold numbers in 1 or 2 dimensions, got {got}")
        if len(values) != num_edges:
            raise DataError(f"{where}: {name} must have {num_edges} rows, one per edge, got {len(values)}")
        if name == "edge_weight":
            found[name] = _weights(where, values)
        else:
            found[name] = _categories(where, values) if _are_categories(values) else _features(where, values)
    return found


def _are_categories(values: NDArray[Any]) -> bool:
    return values.ndim == 1 and values.dtype.kind in "iu"


def _weights(where: str, values: NDArray[Any]) -> NDArray[Any]:
    """float32 [E] of an array [E] or [E, 1]."""
    if values.ndim == 2 and values.shape[1] != 1:
        raise DataError(f"{where}: edge_weight must be one number per edge, got shape {list(values.shape)}")
    weights = _float32(where, "edge_weight", values.reshape(-1))
    _refuse(where, "edge_weight", weights < 0, "must be >= 0", weights)
    return weights


def _features(where: str, values: NDArray[Any]) -> NDArray[Any]:
    """float32 [E, D] of an array [E, D] or [E]."""
    return _float32(where, "edge_attr", values.reshape(len(values), -1) if values.ndim == 1 else values)


def _categories(where: str, values: NDArray[Any]) -> NDArray[Any]:
    outside = (values < 0) | (values >= MOST_CATEGORIES)
    _refuse(where, "edge_attr", outside, f"must be in 0..{MOST_CATEGORIES - 1}", values)
    return values.astype(np.int64)


def _float32(where: str, name: str, values: NDArray[Any]) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
    _refuse(where, name, ~np.isfinite(rounded), "must be a finite number in float32", values)
    return rounded


def _refuse(where: str, name: str, bad: NDArray[np.bool_], rule: str, values: NDArray[Any]) -> None:
    """Raises DataError for the first element of `bad` that is true."""
    if bad.any():
        place = tuple(np.argwhere(bad)[0].tolist())
        raise DataError(f"{where}: {name}[{', '.join(map(str, place))}] {rule}, got {values[place]}")
