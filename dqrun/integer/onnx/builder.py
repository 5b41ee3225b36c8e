"""`Builder` adds nodes and constants to an ONNX graph; its methods take and return names of values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from dqrun.extras import require

OPSET, IR_VERSION = 21, 10
"""Opset 21 has the type INT4; it needs version 10 of the file format."""

NARROW = {"int4": "INT4", "uint4": "UINT4"}
"""Types that numpy lacks."""


class Builder:
    """Collects nodes in the order of the calls. `scope` is the first part of generated names.

    Raises ConfigError if the extra [onnx] is not installed.
    """

    def __init__(self) -> None:
        self.onnx: Any = require("onnx", "onnx", "the format onnx")
        self.scope = "graph"
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self._known: dict[tuple[object, ...], str] = {}

    def op(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Adds a node with one output and returns the output's name: `name`, or a generated one."""
        return self.op_several(kind, inputs, [name or self._new_name(kind)], **attributes)[0]

    def op_several(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> list[str]:
        """As `op`, for a node with several outputs with the given names."""
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, outputs, name=f"{outputs[0]}/{kind}", **attributes))
        return list(outputs)

    def cast(self, value: str, dtype: DTypeLike, name: str = "") -> str:
        """A value, converted to a numpy type."""
        return self.op("Cast", value, name=name, to=self.type_of(dtype))

    def constant(self, values: ArrayLike, dtype: DTypeLike) -> str:
        """A constant of a numpy type; equal constants are stored once."""
        array = np.ascontiguousarray(np.asarray(values, dtype=dtype)).reshape(np.shape(values))
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = self._add(self.onnx.numpy_helper.from_array(array, self._new_name("constant")))
        return self._known[key]

    def narrow_constant(self, values: ArrayLike, kind: str) -> str:
        """A constant of one of the types NARROW, two numbers in a byte."""
        array = np.asarray(values)
        type_ = getattr(self.onnx.TensorProto, NARROW[kind])
        name = self._new_name(kind)
        return self._add(self.onnx.helper.make_tensor(name, type_, array.shape, array.flatten().tolist()))

    def filled(self, shape: str, value: float, dtype: DTypeLike) -> str:
        """A tensor filled with `value`; `shape`: name of a value, known when the model runs."""
        number = self.onnx.numpy_helper.from_array(np.array([value], dtype=dtype))
        return self.op("ConstantOfShape", shape, value=number)

    def type_of(self, dtype: DTypeLike) -> int:
        """ONNX's number of a numpy type."""
        return int(self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def _add(self, tensor: Any) -> str:
        self.constants[tensor.name] = tensor
        return str(tensor.name)

    def _new_name(self, kind: str) -> str:
        return f"{self.scope}/{kind}_{len(self.nodes)}_{len(self.constants)}"
