"""A program as an ONNX model, built operation by operation; docs/howto/onnx.md describes the model.

`write_onnx` and `to_onnx` need the extra [onnx], and so does `Session`, which runs a model with ONNX Runtime. Nothing
here imports torch_geometric, networks or quantisers.
"""

from dqrun.integer.onnx.model import to_onnx, write_onnx
from dqrun.integer.onnx.session import Session

__all__ = ["Session", "to_onnx", "write_onnx"]
