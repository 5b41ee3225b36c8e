"""`x.npy` of a user's folder: features of nodes, mapped from the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dqrun.data.mapped import map_npy
from dqrun.data.sources.folder_content import Floats
from dqrun.errors import DataError

ROWS_AT_ONCE = 1 << 18


def read_features(path: Path, num_nodes: int) -> Floats:
    """Features, float32 [N, F]: mapped from the file if it holds float32, else converted in memory.

    Raises DataError for another shape, and, with row and column, for a number that is not finite in float32.
    """
    given = map_npy(path)
    if given.ndim != 2 or given.dtype.kind not in "iuf" or not given.shape[1]:
        raise DataError(f"{path}: must hold numbers [N, F], got {given.dtype} {list(given.shape)}")
    if len(given) != num_nodes:
        raise DataError(f"{path}: must have {num_nodes} rows, one per node, got {len(given)}")
    x = given if given.dtype == np.float32 else np.empty(given.shape, np.float32)
    for first in range(0, num_nodes, ROWS_AT_ONCE):
        part = slice(first, first + ROWS_AT_ONCE)
        if x is not given:
            with np.errstate(over="ignore"):
                x[part] = given[part]
        bad = np.argwhere(~np.isfinite(x[part]))
        if bad.size:
            row, column = first + int(bad[0][0]), int(bad[0][1])
            rule = "must be a finite number in float32"
            raise DataError(f"{path}: row {row}: column {column} {rule}, got {given[row, column]}")
    return x
