"""`lower`: from a network trained under `plan=integer` to its integer program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dqrun.integer.batch_norm import affine
from dqrun.integer.operations import (
    INPUT,
    LOGITS,
    Aggregate,
    Attention,
    Linear,
    Lookup,
    Operation,
    Quantize,
    Readout,
)
from dqrun.integer.program import Program
from dqrun.integer.sites import TrainedSites
from dqrun.kernels.integer import CodeGrid, Epilogue, quantize
from dqrun.nn import GNN, GATLayer, GCNLayer, GINLayer
from dqrun.nn import Linear as FloatLinear
from dqrun.nn.gat import NEGATIVE_SLOPE
from dqrun.nn.linear import BatchNorm, Embedding


@dataclass(frozen=True)
class Tail:
    """What follows a message-passing layer, up to the value `target` (grid None: float32 logits)."""

    target: str
    grid: CodeGrid | None
    norm: BatchNorm | None = None
    activation: str = "none"
    residual: str = ""


def lower(model: GNN, origin: dict[str, Any] | None = None) -> Program:
    """The integer program of a trained network; `origin`: plain data that its file carries along.

    Scales are those of training (float32), what is computed from them is float64; batch norms become a float32 factor
    and offset per channel (`batch_norm.affine`). Raises ConfigError for a site that is exact where the program stores
    codes, or quantised where it has none, and for what no program may be (`validation`): sums that could leave int32,
    parameters that are not finite.
    """
    lowering = _Lowering(model)
    lowering.enter()
    for i in range(len(model.layers)):
        lowering.layer(i)
    if model.readout is not None:
        lowering.leave(model.readout)
    lowering.sites.require_no_others()
    return Program(tuple(lowering.operations), bool(model.layers[0].uses_self_loops), origin or {})


class _Lowering:
    """The program of one network, built from its first operation to its last."""

    def __init__(self, model: GNN) -> None:
        self.model, self.sites = model, TrainedSites(model)
        self.operations: list[Operation] = []

    def enter(self) -> None:
        """From the input to state 0."""
        encoder, state = self.model.encoder, self.sites.grid("states.0")
        if isinstance(encoder, Embedding):
            table = self.sites.fake_quantized("encoder.weight", encoder.weight)
            self.operations.append(Lookup(INPUT, "states.0", quantize(table, state)))
            return
        if encoder is None:
            self.operations.append(Quantize(INPUT, "states.0", _in_channels(self.model.layers[0]), state))
            return
        assert isinstance(encoder, FloatLinear)
        grid = self.sites.grid("encoder.input")
        self.operations.append(Quantize(INPUT, "encoder.input", encoder.weight.size(1), grid))
        self.linear("encoder", encoder, Tail("states.0", state))

    def layer(self, i: int) -> None:
        """From state i to state i + 1, or to the logits."""
        layer, name, tail = self.model.layers[i], f"layers.{i}", self.tail(i)
        if isinstance(layer, GCNLayer):
            self.product(f"states.{i}", name, layer.weight.t(), degree_scale=True)
            features = self.sites.grid(f"{name}.features")
            epilogue = make_epilogue(features.scale, layer.bias, tail)
            channels = layer.weight.size(1)
            args = (f"{name}.features", tail.target, channels, None, epilogue)
            self.operations.append(Aggregate(*args, degree_scale=True, residual=tail.residual))
        elif isinstance(layer, GATLayer):
            self.product(f"states.{i}", name, layer.weight.t(), degree_scale=False)
            features = self.sites.grid(f"{name}.features")
            epilogue = make_epilogue(features.scale, layer.bias, tail)
            vectors = layer.attention.detach().cpu().clone()
            args_ = (f"{name}.features", tail.target, vectors, NEGATIVE_SLOPE, layer.concat, epilogue)
            self.operations.append(Attention(*args_, residual=tail.residual))
        else:
            assert isinstance(layer, GINLayer)
            self.gin(i, layer, tail)

    def gin(self, i: int, layer: GINLayer, tail: Tail) -> None:
        """Sum of neighbours, then the linear layers of the MLP; a last batch norm of its own stands behind a ReLU."""
        state, name = self.sites.grid(f"states.{i}"), f"layers.{i}.mlp"
        first = Tail(f"{name}.0.input", self.sites.grid(f"{name}.0.input"))
        weight = 1.0 + layer.eps.item()
        epilogue = make_epilogue(state.scale, None, first)
        self.operations.append(Aggregate(f"states.{i}", first.target, _in_channels(layer), weight, epilogue))
        linears = [module for module in layer.mlp if isinstance(module, FloatLinear)]
        for k, linear in enumerate(linears[:-1]):
            after = f"{name}.{k + 1}.input"
            self.linear(f"{name}.{k}", linear, Tail(after, self.sites.grid(after), activation="relu"))
        inner = layer.mlp[-1] if isinstance(layer.mlp[-1], BatchNorm) else None
        self.linear(f"{name}.{len(linears) - 1}", linears[-1], tail, inner)

    def leave(self, readout: str) -> None:
        """From the last state to the logits of a graph task."""
        last, head = f"states.{len(self.model.layers)}", self.model.head
        state = self.sites.grid(last)
        first = Tail(LOGITS, None) if head is None else Tail("head.0.input", self.sites.grid("head.0.input"))
        channels = _out_channels(self.model.layers[-1])
        self.operations.append(Readout(last, first.target, channels, readout, make_epilogue(state.scale, None, first)))
        for k, linear in enumerate(head or []):
            assert isinstance(linear, FloatLinear)
            ends = head is not None and k == len(head) - 1
            after = f"head.{k + 1}.input"
            tail = Tail(LOGITS, None) if ends else Tail(after, self.sites.grid(after), activation="relu")
            self.linear(f"head.{k}", linear, tail)

    def tail(self, i: int) -> Tail:
        """What follows layer i."""
        if i == self.model.num_hidden:
            return Tail(LOGITS, None)
        norm = None if self.model.norms is None else self.model.norms[i]
        assert norm is None or isinstance(norm, BatchNorm)
        layer, target = self.model.layers[i], f"states.{i + 1}"
        adds = self.model.residual and _in_channels(layer) == _out_channels(layer)
        return Tail(target, self.sites.grid(target), norm, self.model.activation, f"states.{i}" if adds else "")

    def linear(self, name: str, linear: FloatLinear, tail: Tail, inner: BatchNorm | None = None) -> None:
        """A linear layer whose input is the value `NAME.input`."""
        grid = self.sites.grid(f"{name}.input")
        weight, bits, scale = self.sites.weight(f"{name}.weight", linear.weight)
        epilogue = make_epilogue(grid.scale * scale, linear.bias, tail, inner)
        self.operations.append(Linear(f"{name}.input", tail.target, weight, bits, epilogue, residual=tail.residual))

    def product(self, source: str, name: str, matrix: Tensor, degree_scale: bool) -> None:
        """XW of GCN and GAT, stored as the value `NAME.features`; matrix: [out, in]."""
        grid, features = self.sites.grid(source), self.sites.grid(f"{name}.features")
        weight, bits, scale = self.sites.weight(f"{name}.weight", matrix)
        epilogue = make_epilogue(grid.scale * scale, None, Tail(f"{name}.features", features))
        self.operations.append(Linear(source, f"{name}.features", weight, bits, epilogue, degree_scale))


def make_epilogue(scale: float, bias: Tensor | None, tail: Tail, inner: BatchNorm | None = None) -> Epilogue:
    """What follows integer sums in steps of `scale`: bias, `inner` norm behind a ReLU, then the tail.

    The bias becomes a part of a batch norm's offset, unless a ReLU stands between.
    """
    norms = [norm for norm in (inner, tail.norm) if norm is not None]
    bias = None if bias is None else bias.detach().cpu().double()
    gain: Tensor | None = None
    offset: Tensor | None = None
    if norms:
        gain, offset = (value.double() for value in affine(norms, None if inner is not None else bias))
    return Epilogue(
        multiplier=torch.tensor([scale], dtype=torch.float64),
        bias=bias if inner is not None or not norms else None,
        pre_relu=inner is not None,
        gain=gain,
        offset=offset,
        activation=tail.activation,
        grid=tail.grid,
    )


def _in_channels(layer: torch.nn.Module) -> int:
    if isinstance(layer, GINLayer):
        first = layer.mlp[0]
        assert isinstance(first, FloatLinear)
        return first.weight.size(1)
    assert isinstance(layer, GCNLayer | GATLayer)
    return layer.weight.size(0)


def _out_channels(layer: torch.nn.Module) -> int:
    if isinstance(layer, GINLayer):
        return [module for module in layer.mlp if isinstance(module, FloatLinear)][-1].weight.size(0)
    if isinstance(layer, FloatLinear):
        return layer.weight.size(0)
    assert isinstance(layer, GCNLayer | GATLayer)
    return layer.bias.numel()
