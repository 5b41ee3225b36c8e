"""NumPy arrays and SciPy's CSR matrices in pickles, rebuilt from their bytes.

NumPy's own `__setstate__` does not check the state: an object dtype declared as plain would turn bytes into pointers.
"""

from __future__ import annotations

import math
import pickle
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dqrun.data.unpickling import Constant, Names, State


class _Dtype(State):
    """A dtype of numbers; its state says the byte order alone."""

    def __init__(self, text: Any) -> None:
        if not isinstance(text, str) or not re.fullmatch(r"[<>=|]?[biuf][1248]", text):
            raise pickle.UnpicklingError("it holds an array of something else than numbers")
        self.value = np.dtype(text)

    def __setstate__(self, state: Any) -> None:
        if state[1] in "<>":
            self.value = self.value.newbyteorder(state[1])


class _Array(State):
    """An array, built from its bytes when its state is given."""

    def __init__(self) -> None:
        self.value: NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        *_, shape, dtype, fortran, content = state
        if not isinstance(dtype, _Dtype):
            raise pickle.UnpicklingError("it holds an array without a dtype")
        content = content.encode("latin1") if isinstance(content, str) else content  # text of Python 2
        self.value = _from_bytes(content, dtype.value, shape, "F" if fortran else "C")


def _from_bytes(content: Any, dtype: np.dtype[Any], shape: Any, order: Any = "C") -> NDArray[Any]:
    if not isinstance(content, bytes) or not all(type(size) is int and size >= 0 for size in shape):
        raise pickle.UnpicklingError("it holds an array whose shape or content is malformed")
    if math.prod(shape) * dtype.itemsize != len(content):
        raise pickle.UnpicklingError(f"it holds an array of shape {list(shape)} with {len(content)} bytes")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if order == "F" else "C")


def _from_buffer(content: Any, dtype: _Dtype, shape: Any, order: Any) -> _Array:
    array = _Array()
    array.value = _from_bytes(content, dtype.value, shape, order)
    return array


def _scalar(dtype: _Dtype, content: Any) -> Any:
    return _from_bytes(content.encode("latin1") if isinstance(content, str) else content, dtype.value, ()).item()


class _Csr(State):
    """The pieces of a CSR matrix."""

    def __init__(self) -> None:
        self.pieces: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError("it holds a sparse matrix without its pieces")
        self.pieces = state


def array(value: Any) -> NDArray[Any]:
    """The array of an unpickled object; raises ValueError if it is no array."""
    if isinstance(value, _Array) and value.value is not None:
        return value.value
    raise ValueError("it must hold an array of numbers")


def csr(value: Any) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], tuple[int, int]] | None:
    """`data` [K], `indices` [K], `indptr` [N + 1] and shape (N, F) of an unpickled CSR matrix; None for anything else.

    Raises ValueError for pieces that do not fit together.
    """
    if not isinstance(value, _Csr):
        return None
    pieces = value.pieces
    data, indices, indptr = (array(pieces.get(name)) for name in ("data", "indices", "indptr"))
    shape = pieces.get("_shape", pieces.get("shape"))
    if not isinstance(shape, tuple) or len(shape) != 2 or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError("a sparse matrix must have a shape of two numbers")
    if any(piece.ndim != 1 for piece in (data, indices, indptr)) or "f" in (indices.dtype.kind, indptr.dtype.kind):
        raise ValueError("the pieces of a sparse matrix must be vectors, of integers for places")
    whole = indptr.size == shape[0] + 1 and data.size == indices.size == indptr[-1] and indptr[0] == 0
    if not whole or bool((np.diff(indptr) < 0).any()):
        raise ValueError("the rows of a sparse matrix must add up to its values")
    if indices.size and not 0 <= int(indices.min()) <= int(indices.max()) < shape[1]:
        raise ValueError(f"a sparse matrix must name columns in 0..{shape[1] - 1}")
    return data, indices, indptr, shape


def _empty_dict(factory: Any = None) -> dict[Any, Any]:
    return {}


def _empty_list() -> list[Any]:
    return []


def _no_bytes() -> bytes:
    """`bytes()`, as protocol 2 writes empty ones."""
    return b""


def _bytes(text: Any, encoding: Any = "latin1") -> bytes:
    """`codecs.encode`, as protocol 2 writes bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("it encodes something else than bytes")
    return text.encode("latin1")


PLAIN: Names = {
    ("collections", "defaultdict"): _empty_dict,
    ("collections", "OrderedDict"): _empty_dict,
    ("__builtin__", "list"): _empty_list,
    ("builtins", "list"): _empty_list,
    ("__builtin__", "bytes"): _no_bytes,
    ("_codecs", "encode"): _bytes,
    ("numpy", "dtype"): lambda text, *_: _Dtype(text),
    ("numpy", "ndarray"): Constant("ndarray"),
    **{(f"numpy.{core}.multiarray", "_reconstruct"): lambda *_: _Array() for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
    **{(f"scipy.sparse.{module}", "csr_matrix"): _Csr for module in ("csr", "_csr")},
}
"""The names that `unpickle` allows for plain data of Python, NumPy and SciPy."""
