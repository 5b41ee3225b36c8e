"""`to_onnx`: a program as an ONNX model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dqrun.errors import ConfigError
from dqrun.integer.onnx.builder import IR_VERSION, OPSET, Builder
from dqrun.integer.onnx.operations import emit
from dqrun.integer.onnx.structure import Structure
from dqrun.integer.onnx.values import Values
from dqrun.integer.operations import LOGITS
from dqrun.integer.program import Program


def to_onnx(program: Program) -> Any:
    """The program as an `onnx.ModelProto` of opset 21.

    Inputs: `x`, float32 [num_nodes, F] or int64 [num_nodes]; `edge_index`, int64 [2, num_edges], raw edges; of programs
    with a row of logits per graph `batch`, int64 [num_nodes], ascending from 0 without gaps. Output: `logits`, float32.
    The file's properties state the program's origin (`dqrun.origin`) and the grid of each site (`dqrun.grids`).

    Raises ConfigError for operations without an ONNX form, and if the extra [onnx] is missing.
    """
    features = program.origin.get("features")
    if isinstance(features, dict) and features.get("edge_weights"):
        raise ConfigError("a program that reads edge weights has no ONNX form: train with dataset.edge_weights=false")
    build = Builder()
    values, structure = Values(build), Structure(build, program.self_loops)
    for operation in program.operations:
        build.scope = operation.target
        emit(operation, values, structure)
    helper = build.onnx.helper
    graph = helper.make_graph(
        build.nodes, "dqrun", _inputs(build, program), [_output(build, program)], list(build.constants.values())
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="dqrun"
    )
    grids = {
        name: {"bits": each.grid.bits, "scale": each.grid.scale, "zero_point": each.grid.zero_point}
        for name, each in values.coded.items()
    }
    helper.set_model_props(model, {"dqrun.origin": json.dumps(program.origin), "dqrun.grids": json.dumps(grids)})
    return model


def write_onnx(program: Program, path: Path) -> Any:
    """Writes `to_onnx(program)` to a file and returns it; raises OSError if the file cannot be written."""
    model = to_onnx(program)
    path.write_bytes(model.SerializeToString())
    return model


def _inputs(build: Builder, program: Program) -> list[Any]:
    signature, types = program.signature, build.onnx.TensorProto
    x = (
        (types.INT64, ["num_nodes"])
        if signature.num_categories
        else (types.FLOAT, ["num_nodes", signature.in_channels])
    )
    shapes = {"x": x, "edge_index": (types.INT64, [2, "num_edges"])}
    if signature.graph_level:
        shapes["batch"] = (types.INT64, ["num_nodes"])
    return [build.onnx.helper.make_tensor_value_info(name, *shape) for name, shape in shapes.items()]


def _output(build: Builder, program: Program) -> Any:
    rows = "num_graphs" if program.signature.graph_level else "num_nodes"
    shape = [rows, program.signature.out_channels]
    return build.onnx.helper.make_tensor_value_info(LOGITS, build.onnx.TensorProto.FLOAT, shape)
