"""The kinds of vectors, as numba types."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import models, register_model, typeof_impl

_Type: Any = types.Type  # untyped in numba
_PrimitiveModel: Any = models.PrimitiveModel

SHORT = {"float32": "f32", "float64": "f64"}


class Vector(_Type):  # type: ignore[misc]
    """A kind of vector: `lanes` values of the numba type `dtype`; a mask has lanes of type boolean, one bit each."""

    dtype: Any
    lanes: int

    def __init__(self, dtype: Any, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        super().__init__(name=f"Vector({dtype}, {lanes})")

    @property
    def is_float(self) -> bool:
        return isinstance(self.dtype, types.Float)

    @property
    def is_signed(self) -> bool:
        return self.is_float or bool(getattr(self.dtype, "signed", False))

    @property
    def bits(self) -> int:
        """Bits of a lane."""
        return 1 if self.dtype == types.boolean else int(self.dtype.bitwidth)

    @property
    def llvm(self) -> Any:
        """The LLVM type."""
        if self.is_float:
            return ir.VectorType(ir.FloatType() if self.bits == 32 else ir.DoubleType(), self.lanes)
        return ir.VectorType(ir.IntType(self.bits), self.lanes)

    @property
    def suffix(self) -> str:
        """The name of the kind in names of LLVM's intrinsic functions."""
        return f"v{self.lanes}{SHORT.get(str(self.dtype), f'i{self.bits}')}"

    def of(self, dtype: Any) -> Vector:
        """The kind with the same number of lanes of another type."""
        return Vector(dtype, self.lanes)

    def constant(self, value: Any) -> Any:
        """An LLVM constant with the value in each lane, or with a list of values."""
        return ir.Constant(self.llvm, value if isinstance(value, list) else [value] * self.lanes)


@register_model(Vector)
class _Model(_PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, kind.llvm)


@typeof_impl.register(Vector)
def _type_of_kind(kind: Vector, _context: Any) -> Any:
    """In a kernel, a kind is a constant."""
    return types.TypeRef(kind)


B16, B32 = (Vector(types.boolean, lanes) for lanes in (16, 32))
I8x16, I8x64 = (Vector(types.int8, lanes) for lanes in (16, 64))
U8x16, U8x32, U8x64 = (Vector(types.uint8, lanes) for lanes in (16, 32, 64))
U16x32, U16x64 = (Vector(types.uint16, lanes) for lanes in (32, 64))
I32x8, I32x16, I32x32 = (Vector(types.int32, lanes) for lanes in (8, 16, 32))
U32x16, U32x32 = (Vector(types.uint32, lanes) for lanes in (16, 32))
I64x8, I64x16 = (Vector(types.int64, lanes) for lanes in (8, 16))
F32x8, F32x16, F32x32 = (Vector(types.float32, lanes) for lanes in (8, 16, 32))
F64x8, F64x16 = (Vector(types.float64, lanes) for lanes in (8, 16))
