"""Reads files of `torch.save` as plain data: tensors in dicts, lists and PyG's `Data`; no code of the file runs.

`torch.load(weights_only=True)` makes objects of trusted classes and relies on the sizes that the file states. Here
PyG's classes become dictionaries, and the size of a tensor is checked against the bytes in the file.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dqrun.data.archives import member_bytes, open_archive
from dqrun.data.pickled_arrays import PLAIN
from dqrun.data.unpickling import Constant, Names, State, unpickle

_MAGIC = 0x1950A86A20F9469CFC6C  # first in files from before torch 1.6, and in separately pickled storages
_PROTOCOL = 1001

_DTYPES = {
    "Double": torch.float64, "Float": torch.float32, "Half": torch.float16, "BFloat16": torch.bfloat16,
    "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
    "Bool": torch.bool,
}  # fmt: skip


def read_torch(content: bytes) -> Any:
    """The content of a file of `torch.save`: containers, numbers, text, `LazyTensor`s, `SparseTensor`s, and
    `PyGObject`s for PyG's `Data`.

    Raises ValueError, with the reason in one line, for anything else.
    """
    if content[:4] == b"PK\x03\x04":
        return _read_zip(content)
    return _read_legacy(content)


@dataclass(frozen=True)
class Storage:
    """`size` elements of `dtype`; `content` reads their bytes."""

    dtype: torch.dtype
    size: int
    content: Callable[[], bytes]


@dataclass(frozen=True)
class LazyTensor:
    """A tensor whose elements are read when `tensor` is called: often only a part of a big file is needed."""

    storage: Any
    offset: Any
    shape: Any
    stride: Any

    def tensor(self) -> Tensor:
        """The tensor, contiguous, in its own memory. Raises ValueError if it is malformed or elements are missing."""
        storage = self.storage() if callable(self.storage) else self.storage
        if not isinstance(storage, Storage) or not isinstance(self.shape, tuple) or not isinstance(self.stride, tuple):
            raise ValueError("a tensor is malformed")
        sizes = (self.offset, storage.size, *self.shape, *self.stride)
        if len(self.shape) != len(self.stride) or not all(type(n) is int and 0 <= n < 2**48 for n in sizes):
            raise ValueError("a tensor is malformed")
        number = math.prod(self.shape)
        if number == 0 and max(self.shape) < 2**31:
            return torch.empty(self.shape, dtype=storage.dtype)
        last = self.offset + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))
        if last >= storage.size or number > storage.size:
            raise ValueError("a tensor has more elements than the file holds for it")
        content = storage.content()
        if len(content) != storage.size * storage.dtype.itemsize:
            raise ValueError("a tensor has more elements than the file holds for it")
        flat = torch.frombuffer(bytearray(content), dtype=storage.dtype)
        return flat.as_strided(self.shape, self.stride, self.offset).clone(memory_format=torch.contiguous_format)


class SparseTensor:
    """Replaces a sparse tensor; `as_tensor` refuses it."""


def as_tensor(value: Any) -> Tensor:
    """The tensor of a `LazyTensor`; raises ValueError for any other value."""
    if isinstance(value, SparseTensor):
        raise ValueError("a tensor is sparse: store it with .to_dense()")
    if not isinstance(value, LazyTensor):
        raise ValueError(f"a tensor was expected, got {type(value).__name__}")
    return value.tensor()


class PyGObject(State):
    """PyG's `Data` or `Batch`, or the storage inside: `mapping` holds the attributes."""

    def __init__(self) -> None:
        self.mapping: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            inner = state.get("_store")
            mapping = inner.mapping if isinstance(inner, PyGObject) else state.get("_mapping", state)
            self.mapping = mapping if isinstance(mapping, dict) else {}


class _BatchMaker(State):
    """Replaces PyG's `DynamicInheritanceGetter`, which a pickled `Batch` calls to get its class."""

    def __call__(self, *bases: Any) -> PyGObject:
        return PyGObject()

    def __setstate__(self, state: Any) -> None:
        """It has none."""


def _read_zip(content: bytes) -> Any:
    archive = open_archive(content)
    pickles = [name for name in archive.namelist() if name.endswith("/data.pkl") or name == "data.pkl"]
    if len(pickles) != 1:
        raise ValueError("it is not a file of torch.save")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}byteorder" in archive.namelist() and member_bytes(archive, f"{folder}byteorder") != b"little":
        raise ValueError("it was written on a machine with another byte order")
    return unpickle(member_bytes(archive, pickles[0]), _NAMES, lambda pid: _storage_of_zip(archive, folder, pid))


def _storage_of_zip(archive: zipfile.ZipFile, folder: str, pid: Any) -> Storage:
    match pid:
        case ("storage", Constant(torch.dtype() as dtype), str(key), _, int(size)):
            return Storage(dtype, size, partial(member_bytes, archive, f"{folder}data/{key}"))
    raise ValueError("a tensor is malformed")


def _read_legacy(content: bytes) -> Any:
    """Four pickles (magic number, protocol, machine, object), the keys of the storages, then the bytes of each."""
    stream = io.BytesIO(content)
    if unpickle(stream, {}) != _MAGIC or unpickle(stream, {}) != _PROTOCOL:
        raise ValueError("it is not a file of torch.save")
    machine = unpickle(stream, {})
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise ValueError("it was written on a machine with another byte order")
    found: dict[str, tuple[torch.dtype, int]] = {}
    places: dict[str, bytes] = {}

    def storage(pid: Any) -> Storage:
        match pid:
            case ("storage", Constant(torch.dtype() as dtype), str(key), _, int(size), *_):
                if found.setdefault(key, (dtype, size)) == (dtype, size):
                    return Storage(dtype, size, lambda: places.get(key, b""))
        raise ValueError("a tensor is malformed")

    result, keys = unpickle(stream, _NAMES, storage), unpickle(stream, {})
    for key in keys if isinstance(keys, list) else ():
        dtype, size = found.get(key, (torch.uint8, -1)) if isinstance(key, str) else (torch.uint8, -1)
        if size < 0 or stream.read(8) != struct.pack("<q", size):
            raise ValueError("a tensor has another size than the file says")
        places[key] = stream.read(size * dtype.itemsize)
    return result


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> LazyTensor:
    return LazyTensor(storage, offset, shape, stride)


def _storage_from_bytes(content: Any) -> Callable[[], Any]:
    """A separately pickled storage; it is read when its tensor is."""
    return partial(_read_legacy, content)


_DATA = "torch_geometric.data"
_NAMES: Names = {
    **PLAIN,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
    ("torch._utils", "_rebuild_sparse_tensor"): lambda *_: SparseTensor(),
    ("torch.serialization", "_get_layout"): lambda *_: None,
    ("torch", "Size"): lambda *sizes: sizes[0] if sizes else (),
    **{("torch", f"{name}Storage"): Constant(dtype) for name, dtype in _DTYPES.items()},
    **{(f"{_DATA}.data", name): PyGObject for name in ("Data", "BaseData")},
    **{(f"{_DATA}.data", name): Constant(name) for name in ("DataEdgeAttr", "DataTensorAttr")},
    (f"{_DATA}.storage", "GlobalStorage"): PyGObject,
    (f"{_DATA}.batch", "DynamicInheritanceGetter"): _BatchMaker,
    (f"{_DATA}.batch", "Batch"): PyGObject,
}
PICKLED_TENSORS: Names = {**_NAMES, ("torch.storage", "_load_from_bytes"): _storage_from_bytes}
"""The names that `unpickle` allows for tensors written by `pickle`, not by `torch.save`."""
