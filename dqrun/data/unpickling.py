"""`unpickle`: what a pickle of plain data holds, without running anything that the pickle names.

Python's own reader calls whatever function a pickle asks for. This one knows containers, numbers, text, bytes, and the
few names that `allowed` gives, each of which stands for a function of ours that checks its arguments. NumPy arrays and
SciPy's CSR matrices are rebuilt from their bytes here, since NumPy's own `__setstate__` trusts what it is told.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

_KEYS = (str, bytes, int, float, bool, type(None))


@dataclass(frozen=True)
class Constant:
    """What a name of a pickle stands for, where it is passed on and never called."""

    value: Any


Names = Mapping[tuple[str, str], "Callable[..., Any] | Constant"]

_FORBIDDEN = (
    pickle.INST, pickle.OBJ, pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.PERSID,
    pickle.EMPTY_SET, pickle.FROZENSET, pickle.ADDITEMS, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER,
)  # fmt: skip
"""Opcodes that plain data does not need."""


def unpickle(
    content: bytes | io.BytesIO, allowed: Names | None = None, persistent: Callable[[Any], Any] | None = None
) -> Any:
    """The object that a pickle describes: dicts, lists, tuples, numbers, text, bytes, arrays, CSR matrices.

    `allowed`: further names, and what to call for each. `persistent`: gives the object of a persistent id (torch's
    storages); without it there are none. Of a stream one pickle is read. Raises ValueError, with the reason in a line,
    for a name that is not allowed and for a malformed pickle.
    """
    stream = io.BytesIO(content) if isinstance(content, bytes) else content
    try:
        return _Reader(stream, {**PLAIN, **(allowed or {})}, persistent).load()
    except pickle.UnpicklingError as error:
        raise ValueError(str(error).splitlines()[0]) from None
    except Exception:  # a malformed pickle can raise nearly anything
        raise ValueError("the pickle is truncated or malformed") from None


class Stub:
    """What a name of a pickle gives: a call of `build`, and nothing that a pickle may set or change."""

    __slots__ = ("_build",)

    def __init__(self, build: Callable[..., Any]) -> None:
        self._build = build

    def __call__(self, *arguments: Any) -> Any:
        return self._build(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it changes a function")


class _Reader(pickle._Unpickler):
    """Python's reader that is written in Python, since it lets opcodes be taken away and replaced."""

    stack: list[Any]
    append: Callable[[Any], None]
    read: Callable[[int], bytes]
    pop_mark: Callable[[], list[Any]]
    dispatch: ClassVar[dict[int, Callable[..., None]]] = {
        code: method
        for code, method in pickle._Unpickler.dispatch.items()
        if code not in {opcode[0] for opcode in _FORBIDDEN}
    }

    def __init__(self, stream: io.BytesIO, names: Names, persistent: Callable[[Any], Any] | None) -> None:
        super().__init__(stream, fix_imports=False, encoding="latin1")
        self._names, self._persistent = names, persistent

    def find_class(self, module: str, name: str) -> Any:
        found = self._names.get((module, name))
        if found is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which plain data does not need"[:200])
        return found if isinstance(found, type | Constant) else Stub(found)

    def persistent_load(self, pid: Any) -> Any:
        if self._persistent is None:
            raise pickle.UnpicklingError("it refers to objects outside the file")
        return self._persistent(pid)

    def load_newobj(self) -> None:
        """`cls.__new__(cls, *arguments)`, which only `_Csr` and the stand-ins of other readers have."""
        arguments, cls = self.stack.pop(), self.stack.pop()
        if not isinstance(cls, type) or arguments:
            raise pickle.UnpicklingError("it makes an object that plain data does not need")
        self.append(cls())

    def load_bytearray8(self) -> None:
        """As bytes; Python's own reader reserves as much memory as the file claims."""
        (size,) = struct.unpack("<Q", self.read(8))
        self.append(self.read(size))

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def load_setitems(self) -> None:
        self._set_items(self.pop_mark())

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._set_items(items)

    def _set_items(self, items: list[Any]) -> None:
        """Keys are text and numbers: the hash of a tuple that nests deeply enough ends the process."""
        target = self.stack[-1]
        if type(target) is not dict or any(type(key) not in _KEYS for key in items[::2]):
            raise pickle.UnpicklingError("it holds a dictionary whose keys are neither text nor numbers")
        target.update(zip(items[::2], items[1::2], strict=True))

    def load_binpersid(self) -> None:
        self.append(self.persistent_load(self.stack.pop()))

    def load_build(self) -> None:
        """`object.__setstate__(state)` of classes of ours alone: no attribute of anything else is set."""
        state, instance = self.stack.pop(), self.stack[-1]
        if not isinstance(instance, State):
            raise pickle.UnpicklingError(f"it sets attributes of a {type(instance).__name__}")
        instance.__setstate__(state)

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.DICT[0]] = load_dict
    dispatch[pickle.NEWOBJ[0]] = load_newobj
    dispatch[pickle.BINPERSID[0]] = load_binpersid
    dispatch[pickle.BUILD[0]] = load_build


class State:
    """Base of the classes of ours whose state a pickle may give, once."""

    def __setstate__(self, state: Any) -> None:
        raise NotImplementedError


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
    """The array that an unpickled object stands for; raises ValueError for anything else."""
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
