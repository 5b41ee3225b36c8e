"""Attention (GAT, GATv2) as nodes of an ONNX graph, in float64; the program itself uses float32 sums."""

from __future__ import annotations

import numpy as np

from dqrun.integer.onnx.structure import Structure
from dqrun.integer.onnx.values import Values
from dqrun.integer.operations import Attention, DynamicAttention

TINY = float(np.finfo(np.float64).tiny)


def attention_sums(operation: Attention, values: Values, structure: Structure) -> str:
    """acc of GAT, float64 [N, H * C] or [N, C]; see `kernels.integer.attention`."""
    build, (source, target) = values.build, structure.edges
    heads, channels = operation.attention.shape[1:]
    rows = build.op("Reshape", values.real(operation.source), build.constant([0, heads, channels], np.int64))
    scale = build.constant(values.coded[operation.source].grid.scale, np.float64)
    parts = []
    for vectors, place in zip(operation.attention, (source, target), strict=True):
        weighted = build.op("Mul", rows, build.constant(vectors.numpy(), np.float64))
        sums = build.op("ReduceSum", weighted, build.constant([-1], np.int64), keepdims=0)
        parts.append(build.op("Gather", build.op("Mul", sums, scale), place, axis=0))
    scores = _leaky_relu(values, build.op("Add", *parts), operation.negative_slope)
    return _weighted_sums(operation, values, structure, (scores, rows))


def dynamic_attention_sums(operation: DynamicAttention, values: Values, structure: Structure) -> str:
    """acc of GATv2, as of `attention_sums`; see `kernels.integer.dynamic_attention`."""
    build, ends = values.build, structure.edges
    heads, channels = operation.attention.shape
    shape = build.constant([0, heads, channels], np.int64)
    names = operation.source, operation.second
    both = [build.op("Reshape", values.real(name), shape) for name in names]
    parts = []
    for name, rows, place in zip(names, both, ends, strict=True):
        scale = build.constant(values.coded[name].grid.scale, np.float64)
        parts.append(build.op("Gather", build.op("Mul", rows, scale), place, axis=0))
    mixed = _leaky_relu(values, build.op("Add", *parts), operation.negative_slope)
    weighted = build.op("Mul", mixed, build.constant(operation.attention.numpy(), np.float64))
    scores = build.op("ReduceSum", weighted, build.constant([-1], np.int64), keepdims=0)
    return _weighted_sums(operation, values, structure, (scores, both[0]))


def _weighted_sums(
    operation: Attention | DynamicAttention, values: Values, structure: Structure, given: tuple[str, str]
) -> str:
    """Sums of the rows [N, H, C] of sources, weighted by the softmax of scores [E, H] over the edges of a target."""
    build, (source, target), (scores, rows) = values.build, structure.edges, given
    heads, channels = operation.attention.shape[-2:]
    peak = structure.segment_max(scores, target, structure.num_nodes, (heads,))
    likely = build.op("Exp", build.op("Sub", scores, build.op("Gather", peak, target, axis=0)))
    likely = build.op("Unsqueeze", likely, build.constant([-1], np.int64))
    sums = []
    for each, width in ((likely, 1), (build.op("Mul", likely, build.op("Gather", rows, source, axis=0)), channels)):
        lead = build.constant(np.zeros((1, heads, width)), np.float64)
        sums.append(structure.segment_sum(build.op("Concat", lead, each, axis=0), structure.into_nodes))
    total, acc = sums
    acc = build.op("Div", acc, build.op("Max", total, build.constant(TINY, np.float64)))  # 0 without edges
    if operation.concat:
        return build.op("Reshape", acc, build.constant([0, heads * channels], np.int64))
    return build.op("ReduceMean", acc, build.constant([1], np.int64), keepdims=0)


def _leaky_relu(values: Values, x: str, slope: float) -> str:
    """The larger of x and slope x: slope is in 0..1."""
    build = values.build
    return build.op("Max", x, build.op("Mul", x, build.constant(slope, np.float64)))
