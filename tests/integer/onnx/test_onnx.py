"""ONNX models beside the programs that they were made of: logits bit for bit where sums are whole numbers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from dqrun.errors import ConfigError
from dqrun.integer import Program
from dqrun.integer.lower import lower
from dqrun.integer.onnx import Session, to_onnx
from dqrun.integer.onnx.operations import EXACT, largest_part
from dqrun.integer.operations import Attention, DynamicAttention, Linear
from dqrun.kernels.integer import CodeGrid

onnx = pytest.importorskip("onnx", reason="the extra [onnx] is not installed")
pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")

Make = Callable[..., Any]
SIZES = ((50, 150, 4), (7, 0, 2), (1, 3, 1), (80, 700, 9))
"""Nodes, edges and graphs of the batches that a model runs on."""


def largest_difference(program: Program, model: Program, random_graph: Make, categories: int = 0) -> float:
    """Of the logits of a program and of the ONNX model of `model`, in steps of the last sum."""
    session, largest = Session(model, threads=2), 0.0
    for nodes, edges, graphs in SIZES:
        x, edge_index, batch = random_graph(nodes, edges, graphs, nodes, categories)
        expected = program(x, edge_index, batch if program.signature.graph_level else None)
        found = session(x, edge_index, batch)
        assert found.shape == expected.shape and found.dtype == torch.float32
        largest = max(largest, float(((found - expected).double().abs() / program.output_step).max()))
    return largest


OPTIONS: dict[str, dict[str, Any]] = {
    "of nodes": {"graph_level": False},
    "categories": {"categories": 4, "readout": "max"},
    "norms": {"norm": "batch", "residual": True, "encoder": "linear", "readout": "sum", "head": [2, 4]},
    "elu": {"activation": "elu", "weight_granularity": "channel", "layers": 3},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("bits", [(8, 8), (4, 4), (6, 3), (2, 2)])
@pytest.mark.parametrize("name", ["gcn", "gin", "sage"])
def test_logits_bit_for_bit(
    trained: Make, random_graph: Make, name: str, bits: tuple[int, int], options: dict[str, Any]
) -> None:
    program = lower(trained(name, *bits, **options))
    assert largest_difference(program, program, random_graph, options.get("categories", 0)) == 0


@pytest.mark.parametrize("options", [{"layers": 3, "residual": True, "out_heads": 2}, {"graph_level": False}])
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("name", ["gat", "gatv2"])
def test_attention_in_float64(trained: Make, random_graph: Make, name: str, bits: int, options: dict[str, Any]) -> None:
    """The program with attention in float64, too: no code lies so near the middle of two that the order decides."""
    program = lower(trained(name, bits, bits, **options))
    doubled = tuple(
        replace(operation, attention=operation.attention.double())
        if isinstance(operation, Attention | DynamicAttention)
        else operation
        for operation in program.operations
    )
    assert largest_difference(replace(program, operations=doubled), program, random_graph) < 1e-6


def test_products_beyond_float32_are_exact(trained: Make, random_graph: Make) -> None:
    """Sums of more than 2^24, of which float32 would lose the last bits."""
    program = lower(trained("gcn", graph_level=False, layers=1))
    quantize, linear, *others = program.operations
    assert isinstance(linear, Linear)
    wide = torch.randint(0, 2, (3, 1600), dtype=torch.int8) * 254 - 127
    shapes = replace(quantize, channels=1600), replace(linear, weight=type(linear.weight)(wide))
    program = replace(program, operations=(*shapes, *others))
    assert largest_part(wide, quantize.grid) > EXACT
    x, edge_index, _ = random_graph(50, 150, 1, 0)
    x = 4 * torch.randn(50, 1600, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Session(program)(x, edge_index), program(x, edge_index))


def test_the_largest_part_of_a_sum() -> None:
    codes = torch.tensor([[7, -3, 0], [1, -2, 7]], dtype=torch.int8)
    assert largest_part(codes, CodeGrid(8, 1.0, 0)) == 8 * 255  # 1 + 7, above -5
    assert largest_part(codes, CodeGrid(8, 1.0, 200)) == max(7 * 55 + 3 * 200, 7 * 200 + 3 * 55, 8 * 200 + 2 * 55)


@pytest.mark.parametrize(("bits", "kind"), [(8, "INT8"), (4, "INT4")])
def test_what_a_model_holds(trained: Make, bits: int, kind: str) -> None:
    program = lower(trained("gin", bits, bits, categories=4), {"run": "r0"})
    model = to_onnx(program)
    onnx.checker.check_model(model, full_check=True)
    (opset,) = model.opset_import
    assert opset.version >= 21 and model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.INT64
    inputs = {
        each.name: [d.dim_param or d.dim_value for d in each.type.tensor_type.shape.dim] for each in model.graph.input
    }
    assert inputs == {"x": ["num_nodes"], "edge_index": [2, "num_edges"], "batch": ["num_nodes"]}
    weights = [
        w for w in model.graph.initializer if w.data_type == getattr(onnx.TensorProto, kind) and len(w.dims) == 2
    ]
    linears = [operation for operation in program.operations if isinstance(operation, Linear)]
    stored = [onnx.numpy_helper.to_array(w).astype("int8").T.tolist() for w in weights]
    assert stored == [operation.weight.codes.tolist() for operation in linears]
    rounded = [node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert rounded == [operation.target for operation in program.operations[1:-1]]
    properties = {each.key: json.loads(each.value) for each in model.metadata_props}
    assert properties["dqrun.origin"] == {"run": "r0"}
    assert list(properties["dqrun.grids"]) == [operation.target for operation in program.operations[:-1]]


@pytest.mark.parametrize("bits", [8, 4])
def test_the_products_are_integer_products(trained: Make, bits: int, tmp_path: Any) -> None:
    """ONNX Runtime replaces each product between a value and a weight by one of integers."""
    import onnxruntime

    program = lower(trained("gin", bits, bits))
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(to_onnx(program).SerializeToString(), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
    products = sum(isinstance(operation, Linear) for operation in program.operations)
    assert kinds.count("MatMulIntegerToFloat") == products and "MatMul" not in kinds


def test_weighted_edges_are_refused(trained: Make) -> None:
    program = lower(trained("gcn"), {"features": {"edge_weights": True}})
    with pytest.raises(ConfigError, match="a program that reads edge weights has no ONNX form"):
        to_onnx(program)


@pytest.mark.parametrize("features", [None, "given", 3, []])
def test_an_origin_that_tells_nothing_of_edge_weights_is_no_obstacle(trained: Make, features: object) -> None:
    assert to_onnx(lower(trained("gcn"), {"features": features})).graph.node


def test_the_missing_extra_is_one_line(trained: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConfigError, match=r"^the format onnx needs the extra \[onnx\]: pip install 'dqrun\[onnx\]'"):
        to_onnx(lower(trained("gcn")))


@pytest.mark.parametrize("categories", [0, 4])
def test_ranges_of_rows_are_refused(trained: Make, categories: int) -> None:
    with pytest.raises(ConfigError, match=r"^states\.0 must have one range for all rows in an ONNX form: train with"):
        to_onnx(lower(trained("gin", rows=("integer", "real"), categories=categories)))
