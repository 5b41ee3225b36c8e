"""The rule of requantisation (`kernels.integer.Epilogue`) as nodes of an ONNX graph, in float64 as in the program."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from torch import Tensor

from dqrun.integer.onnx.builder import Builder
from dqrun.integer.onnx.values import Coded, Values, code_grid
from dqrun.integer.operations import (
    Aggregate,
    Attention,
    DynamicAttention,
    Linear,
    LinearPair,
    Readout,
    result_channels,
)
from dqrun.kernels.integer import Codes, Epilogue

Summing = Linear | LinearPair | Aggregate | Attention | DynamicAttention | Readout
"""Operations with an epilogue."""


def finish(values: Values, acc: str, operation: Summing, row_scale: str = "") -> None:
    """Adds the epilogue of the sums `acc`, float64 [R, C], and the operation's target: codes or float32 logits.

    row_scale: float64 [R, 1].
    """
    build, epilogue, residual = values.build, operation.epilogue, getattr(operation, "residual", "")
    if residual:
        beside = values.coded[residual]
        epilogue = replace(epilogue, residual=Codes.empty(0, beside.channels, beside.grid))
    v = build.op("Mul", acc, row_scale) if row_scale else acc
    v = _activated(build, _affine(build, v, epilogue.folded), epilogue.activation)
    if residual:
        step = build.constant(epilogue.residual_step, np.float64)
        v = build.op("Add", v, build.op("Mul", values.real(residual), step))
    if epilogue.grid is None:
        build.cast(v, np.float32, name=operation.target)
        return
    grid = code_grid(operation.target, epilogue.grid)
    if not epilogue.in_steps:
        v = build.op("Mul", v, build.constant(1 / grid.scale, np.float64))
    # rounded before the cast to float32, which could move a value across the midpoint of two codes
    steps = build.cast(build.op("Round", v), np.float32)
    values.quantized(steps, Coded(operation.target, grid, result_channels(operation)))


def _affine(build: Builder, v: str, epilogue: Epilogue) -> str:
    """Applies factor, bias, ReLU, gain and offset."""

    def numbers(parameter: Tensor) -> str:
        return build.constant(parameter.numpy(), np.float64)

    v = build.op("Mul", v, numbers(epilogue.multiplier))
    if epilogue.bias is not None:
        v = build.op("Add", v, numbers(epilogue.bias))
    if epilogue.pre_relu:
        v = _relu(build, v)
    if epilogue.gain is not None and epilogue.offset is not None:
        v = build.op("Add", build.op("Mul", v, numbers(epilogue.gain)), numbers(epilogue.offset))
    return v


def _activated(build: Builder, v: str, activation: str) -> str:
    if activation == "relu":
        return _relu(build, v)
    if activation == "elu":
        zero, one = (build.constant(number, np.float64) for number in (0, 1))
        below = build.op("Sub", build.op("Exp", build.op("Min", v, zero)), one)
        return build.op("Where", build.op("Greater", v, zero), v, below)
    return v


def _relu(build: Builder, v: str) -> str:
    return build.op("Max", v, build.constant(0, np.float64))
