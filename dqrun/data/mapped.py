"""NPY files of numbers, mapped into memory: parts are read from disk at their first use."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dqrun.data.archives import npy_header
from dqrun.errors import DataError


def map_npy(path: Path) -> NDArray[Any]:
    """The array of an NPY file of numbers; what is written to it stays in memory (copy-on-write).

    Raises DataError for a file that cannot be read, is no NPY file of numbers in C order, or is truncated.
    """
    try:
        with path.open("rb") as file:
            shape, fortran, dtype = npy_header(file)
            begin, size = file.tell(), file.seek(0, 2)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    if fortran and len(shape) > 1:
        raise DataError(f"{path}: must be in C order (numpy.ascontiguousarray)")
    if any(length < 0 for length in shape) or math.prod(shape) * dtype.itemsize != size - begin:
        raise DataError(f"{path}: its header says {list(shape)} of {dtype}, but it holds {size - begin} bytes")
    if not math.prod(shape):
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "c", begin, shape)
