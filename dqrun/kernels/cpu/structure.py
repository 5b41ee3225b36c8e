"""Arguments of kernels by name: numbers, addresses of arrays and further structures, each eight bytes in memory.

A kernel that takes a pointer to them is compiled once, whatever it is called with: numba would compile it again for
each type of a tuple, and count references to arrays in it.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AttributeTemplate
from numba.extending import infer_getattr, lower_getattr_generic, models, register_model, typeof_impl
from torch import Tensor

from dqrun.kernels.cpu.linked import intrinsic

_Type: Any = types.Type  # untyped in numba
_Template: Any = AttributeTemplate
_Model: Any = models.OpaqueModel
_pointer_to: Any = types.CPointer

INTEGER, REAL = types.int64, types.float64
BYTES, SIGNED_BYTES, WORDS, INTEGERS = (_pointer_to(t) for t in (types.uint8, types.int8, types.int32, types.int64))
FLOATS, DOUBLES = _pointer_to(types.float32), _pointer_to(types.float64)
_DTYPES = {
    BYTES: torch.uint8,
    SIGNED_BYTES: torch.int8,
    WORDS: torch.int32,
    INTEGERS: torch.int64,
    FLOATS: torch.float32,
    DOUBLES: torch.float64,
}


class Packed:
    """A structure in memory; it also holds the objects to which its addresses point."""

    def __init__(self, content: bytes, held: tuple[Any, ...]) -> None:
        self.words, self.held = np.frombuffer(content, np.int64), held
        self.address: int = self.words.__array_interface__["data"][0]


class Structure(_Type):  # type: ignore[misc]
    """A pointer to named fields: INTEGER (flags too), REAL, a pointer as BYTES, or another structure.

    Fields do not change while a kernel runs, so that loops may read them once. Structures with the same name, fields
    and order of fields are one type: numba distinguishes types, and symbols of machine code, by the name of the type.
    """

    def __init__(self, name: str, **fields: Any) -> None:
        self.fields = fields
        self._format = "".join("d" if kind == REAL else "q" for kind in fields.values())
        self._dtypes = {name: _DTYPES.get(kind) for name, kind in fields.items()}
        content = ", ".join(f"{field}: {kind}" for field, kind in fields.items())
        super().__init__(name=f"{name}_{hashlib.sha256(content.encode()).hexdigest()[:16]}")

    def pack(self, **values: Any) -> Packed:
        """The fields in memory. Pointers: contiguous tensors, or None for one that is not read."""
        if values.keys() != self.fields.keys():
            raise TypeError(f"fields of {self.name}: given or missing {values.keys() ^ self.fields.keys()}")
        content = [_word(name, dtype, values[name]) for name, dtype in self._dtypes.items()]
        return Packed(struct.pack(self._format, *content), tuple(values.values()))


def _word(name: str, dtype: torch.dtype | None, value: Any) -> int | float:
    """A number as it is, or an address; dtype: what a pointer points to."""
    if isinstance(value, Tensor):
        if value.dtype != dtype or not value.is_contiguous():
            raise TypeError(f"{name} takes contiguous memory of {dtype}, got {value.dtype}")
        return value.data_ptr()
    if isinstance(value, Packed):
        return value.address
    return 0 if value is None else value


@register_model(Structure)
class _PointerModel(_Model):  # type: ignore[misc]
    pass


@infer_getattr
class _Fields(_Template):  # type: ignore[misc]
    key = Structure

    def generic_resolve(self, structure: Structure, name: str) -> Any:
        return structure.fields.get(name)


@lower_getattr_generic(Structure)
def _field(context: Any, builder: Any, structure: Structure, value: Any, name: str) -> Any:
    kind, word = context.get_value_type(structure.fields[name]), ir.IntType(64)
    words = builder.bitcast(value, word.as_pointer())
    place = builder.gep(words, [word(list(structure.fields).index(name))])
    found = builder.load(builder.bitcast(place, kind.as_pointer()), align=8)
    found.set_metadata("invariant.load", builder.module.add_metadata([]))
    return found


@typeof_impl.register(Structure)
def _type_of(structure: Structure, _context: Any) -> Any:
    """A structure that a kernel names is a constant."""
    return types.TypeRef(structure)


@intrinsic
def filled(_context: Any, structure: Any, values: Any) -> Any:
    """The address of a structure that a kernel fills for a task: numbers, arrays and addresses in the order of fields.

    It is on the stack of the calling function, which must not return it, and which must `hold` the arrays until the
    task is done.
    """
    kind = structure.instance_type
    wanted = list(kind.fields.values())
    fits = len(values) == len(wanted) and all(map(_fits, values, wanted))
    assert fits, f"{kind.name} takes {wanted}, got {values}"

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = ir.IntType(64)
        memory = cgutils.alloca_once(builder, word, size=word(len(wanted)))
        given = zip(cgutils.unpack_tuple(builder, args[1]), values, wanted, strict=True)
        for i, (value, have, want) in enumerate(given):
            if isinstance(have, types.Array):
                value = builder.ptrtoint(context.make_array(have)(context, builder, value).data, word)
            else:
                value = context.cast(builder, value, have, REAL if want == REAL else INTEGER)
            value = builder.bitcast(value, word) if want == REAL else value
            builder.store(value, builder.gep(memory, [word(i)]))
        return builder.ptrtoint(memory, word)

    return INTEGER(structure, values), generate


def _fits(have: Any, want: Any) -> bool:
    """Whether a kernel's value can be a field."""
    if isinstance(have, types.Array):
        return bool(_pointer_to(have.dtype) == want)
    return isinstance(have, types.Number if want == REAL else (types.Integer, types.Boolean))
