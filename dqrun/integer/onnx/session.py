"""`Session`: an ONNX model of a program, run by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dqrun.extras import require
from dqrun.integer.onnx.model import to_onnx
from dqrun.integer.program import Program

EXACT_PRODUCTS = "session.x64quantprecision"
"""Set to 1: without it ONNX Runtime's products of uint8 and int8 saturate on x86 processors that lack VNNI."""


class Session:
    """Runs a model on the CPU; its inputs and logits are torch tensors.

    `model`: a program, or a file of `write_onnx`. `threads`: 0 for ONNX Runtime's default. Raises ConfigError if the
    extra [onnx] is missing.
    """

    def __init__(self, model: Program | Path, threads: int = 0) -> None:
        runtime: Any = require("onnxruntime", "onnx", "running ONNX models")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry(EXACT_PRODUCTS, "1")
        options.log_severity_level = 3  # errors
        source = str(model) if isinstance(model, Path) else to_onnx(model).SerializeToString()
        self._session = runtime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        self._names = [each.name for each in self._session.get_inputs()]

    def __call__(self, x: Tensor, edge_index: Tensor, batch: Tensor | None = None) -> Tensor:
        """Logits, float32, as `Program.__call__`. `batch`: only read by programs of graph tasks; None: one graph."""
        given = {"x": x, "edge_index": edge_index}
        if "batch" in self._names:
            given["batch"] = edge_index.new_zeros(x.size(0)) if batch is None else batch
        (logits,) = self._session.run(None, {name: value.numpy() for name, value in given.items()})
        return torch.from_numpy(logits)
