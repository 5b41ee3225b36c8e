"""Programs as files: safetensors with the structure as JSON metadata. No pickle; weights of up to 4 bits are packed.

Tensors are named `K.NAME` after operation number K. Numbers per channel are float64 in a program; they are written as
float32 where that loses nothing (biases of training are float32): a loaded program is the saved one, bit by bit.
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from dqrun.engine.operations import Aggregate, Attention, Linear, Lookup, Operation, Quantize, Readout
from dqrun.engine.program import Program, Signature
from dqrun.errors import ConfigError, DataError
from dqrun.kernels.integer import CodeGrid, Codes, Epilogue, Weight, pack_nibbles, unpack_nibbles

FORMAT = "dqrun-program-1"
KINDS: dict[str, type[Operation]] = {
    kind.__name__: kind for kind in (Quantize, Lookup, Linear, Aggregate, Attention, Readout)
}
PER_CHANNEL = ("multiplier", "bias", "gain", "offset")
WEIGHT_SHIFT = 8  # 4-bit weight codes -7..7 are stored as 1..15

Tensors = dict[str, Tensor]


def save_program(path: Path, program: Program) -> None:
    """Writes a program; raises OSError where the path cannot be written."""
    tensors: Tensors = {}
    operations = []
    for i, operation in enumerate(program.operations):
        plain, own = _split(operation)
        operations.append(plain)
        tensors |= {f"{i}.{name}": tensor for name, tensor in own.items()}
    structure = {"signature": asdict(program.signature), "operations": operations, "origin": program.origin}
    metadata = {"format": FORMAT, "program": json.dumps(structure, separators=(",", ":"))}
    path.write_bytes(save(tensors, metadata))


def load_program(path: Path | str) -> Program:
    """Reads a program; raises DataError in one line for a missing, damaged or foreign file."""
    try:
        data = Path(path).read_bytes()  # not mapped into memory: the file may be written anew while a program lives
        tensors = load(data)
        metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__", {})
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise DataError(f"{path} is not a readable program file ({error})") from None
    if metadata.get("format") != FORMAT:
        raise DataError(f"{path} must be of format {FORMAT} (dqrun export writes it), got {metadata.get('format')!r}")
    try:
        structure = json.loads(metadata["program"])
        operations = tuple(_join(i, plain, tensors) for i, plain in enumerate(structure["operations"]))
        return Program(operations, Signature(**structure["signature"]), structure["origin"])
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError, ConfigError) as error:
        raise DataError(f"{path} is a damaged program file ({type(error).__name__}: {error})") from None


def _split(operation: Operation) -> tuple[dict[str, Any], Tensors]:
    """An operation as plain data and tensors."""
    plain: dict[str, Any] = {"kind": type(operation).__name__}
    tensors: Tensors = {}
    for name, value in vars(operation).items():
        if isinstance(value, Weight):
            tensors[name] = _pack(value.codes, operation.weight_bits) if isinstance(operation, Linear) else value.codes
            plain[name] = value.codes.size(1)
        elif isinstance(value, Codes):
            tensors[name] = value.data
            plain[name] = {"channels": value.channels, "grid": _grid(value.grid)}
        elif isinstance(value, Epilogue):
            switches = {"pre_relu": value.pre_relu, "activation": value.activation, "grid": _grid(value.grid)}
            plain[name] = {part: switch for part, switch in switches.items() if switch not in (False, "none", None)}
            tensors |= {part: _narrow(t) for part in PER_CHANNEL if (t := getattr(value, part)) is not None}
        elif isinstance(value, Tensor):
            tensors[name] = value
        elif isinstance(value, CodeGrid):
            plain[name] = _grid(value)
        else:
            plain[name] = value
    defaults = {field.name: field.default for field in fields(operation)}
    plain = {name: value for name, value in plain.items() if name == "kind" or value != defaults[name]}
    return plain, {name: tensor.contiguous() for name, tensor in tensors.items()}


def _join(i: int, plain: dict[str, Any], tensors: Tensors) -> Operation:
    """The inverse of `_split` for operation number i."""
    kind = KINDS[plain["kind"]]
    values = {name: value for name, value in plain.items() if name != "kind"}
    own = {name.partition(".")[2]: tensor for name, tensor in tensors.items() if name.partition(".")[0] == str(i)}
    if "grid" in values:
        values["grid"] = CodeGrid(*values["grid"])
    if "weight" in values:
        values["weight"] = Weight(_unpack(own["weight"], values["weight"], values["weight_bits"]))
    if "table" in values:
        table = values["table"]
        values["table"] = Codes(own["table"], table["channels"], CodeGrid(*table["grid"]))
    if "epilogue" in values:
        epilogue = values["epilogue"]
        grid = CodeGrid(*epilogue["grid"]) if "grid" in epilogue else None
        parts = {part: own[part].double() if part in own else None for part in PER_CHANNEL}
        if parts["multiplier"] is None:
            raise ValueError(f"operation {i} has no multiplier")
        values["epilogue"] = Epilogue(**(epilogue | parts | {"grid": grid}))
    if kind is Attention:
        values["attention"] = own["attention"]
    return kind(**values)


def _grid(grid: CodeGrid | None) -> list[Any] | None:
    return None if grid is None else [grid.bits, grid.scale, grid.zero_point, grid.spare]


def _pack(codes: Tensor, bits: int) -> Tensor:
    """Weight codes as a file holds them: int8 [M, K], or two in a byte, uint8 [M, ceil(K / 2)], up to 4 bits."""
    return codes if bits > 4 else pack_nibbles((codes + WEIGHT_SHIFT).to(torch.uint8))


def _unpack(stored: Tensor, num_inputs: int, bits: int) -> Tensor:
    """The inverse of `_pack`: int8 [M, num_inputs]."""
    return stored if bits > 4 else unpack_nibbles(stored, num_inputs).to(torch.int8) - WEIGHT_SHIFT


def _narrow(values: Tensor) -> Tensor:
    """Float64 values as float32 where none of them changes."""
    narrow = values.float()
    return narrow if torch.equal(narrow.double(), values) else values
