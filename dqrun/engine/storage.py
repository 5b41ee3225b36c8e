"""Programs as files: their structure as JSON, weights and numbers per channel as tensors, in a `container`.

Nothing in a file is executed. Weights of up to 4 bits are packed. Numbers per channel are float64 in a program; they
are written as float32 where that loses nothing (biases and batch norms are float32): a loaded program is the saved one,
bit by bit.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dqrun.engine import container
from dqrun.engine.container import FORMAT, ForeignFormat, Reader, Writer
from dqrun.engine.operations import Aggregate, Attention, Linear, Lookup, Operation, Quantize, Readout
from dqrun.engine.program import Program, Signature
from dqrun.errors import ConfigError, DataError
from dqrun.kernels.integer import CodeGrid, Codes, Epilogue, Weight, pack_nibbles, unpack_nibbles

KINDS: dict[str, type[Operation]] = {
    kind.__name__: kind for kind in (Quantize, Lookup, Linear, Aggregate, Attention, Readout)
}
PER_CHANNEL = ("multiplier", "bias", "gain", "offset")
DAMAGE = (*container.DAMAGE, AttributeError, IndexError, RuntimeError, ConfigError)
WEIGHT_SHIFT = 8  # 4-bit weight codes -7..7 are stored as 1..15


def save_program(path: Path, program: Program) -> None:
    """Writes a program; raises OSError where the path cannot be written."""
    writer = Writer()
    operations = [_split(operation, writer) for operation in program.operations]
    structure = {"signature": asdict(program.signature), "operations": operations, "origin": program.origin}
    path.write_bytes(writer.write(structure))


def load_program(path: Path | str) -> Program:
    """Reads a program; raises DataError in one line for a missing, damaged or foreign file."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path} must be a program file that can be read ({_reason(error)})") from None
    try:
        reader = Reader(data)
        operations = tuple(_join(plain, reader) for plain in reader.structure["operations"])
        reader.require_end()
        return Program(operations, Signature(**reader.structure["signature"]), reader.structure["origin"])
    except ForeignFormat:
        raise DataError(f"{path} is not a program file of format {FORMAT}: dqrun export writes one") from None
    except DAMAGE as error:
        reason = (str(error).splitlines() or ["nothing more is known"])[0]
        raise DataError(f"{path} is a damaged program file ({type(error).__name__}: {reason})") from None


def _reason(error: OSError) -> str:
    """Why a file cannot be read, in plain words."""
    return "there is none" if isinstance(error, FileNotFoundError) else (error.strerror or str(error)).lower()


def _split(operation: Operation, writer: Writer) -> dict[str, Any]:
    """An operation as plain data; its tensors go to the writer."""
    plain: dict[str, Any] = {"kind": type(operation).__name__}
    defaults = {field.name: field.default for field in fields(operation)}
    for name, value in vars(operation).items():
        if isinstance(value, Weight):
            bits = operation.weight_bits if isinstance(operation, Linear) else 8
            plain[name] = {"inputs": value.codes.size(1), "codes": writer.put(_pack(value.codes, bits))}
        elif isinstance(value, Codes):
            plain[name] = {"channels": value.channels, "grid": _grid(value.grid), "codes": writer.put(value.data)}
        elif isinstance(value, Epilogue):
            switches = {"pre_relu": value.pre_relu, "activation": value.activation, "grid": _grid(value.grid)}
            parts = {part: writer.put(_narrow(t)) for part in PER_CHANNEL if (t := getattr(value, part)) is not None}
            plain[name] = {k: switch for k, switch in switches.items() if switch not in (False, "none", None)} | parts
        elif isinstance(value, Tensor):
            plain[name] = writer.put(value)
        elif isinstance(value, CodeGrid):
            plain[name] = _grid(value)
        elif value != defaults[name]:
            plain[name] = value
    return plain


def _join(plain: dict[str, Any], reader: Reader) -> Operation:
    """The inverse of `_split`: the next operation of a file."""
    kind = KINDS[plain["kind"]]
    values = {name: value for name, value in plain.items() if name != "kind"}
    for name, value in values.items():  # in the order of `_split`, which is that of the tensors
        if name == "grid":
            values[name] = _read_grid(value)
        elif name == "weight":
            values[name] = Weight(_unpack(reader.take(value["codes"]), value["inputs"], values["weight_bits"]))
        elif name == "table":
            values[name] = Codes(reader.take(value["codes"]), value["channels"], _read_grid(value["grid"]))
        elif name == "attention":
            values[name] = reader.take(value)
        elif name == "epilogue":
            grid = _read_grid(value["grid"]) if "grid" in value else None
            parts = {part: reader.take(value[part]).double() for part in PER_CHANNEL if part in value}
            values[name] = Epilogue(**(value | parts | {"grid": grid}))
    return kind(**values)


def _grid(grid: CodeGrid | None) -> list[Any] | None:
    """A grid as plain data. The scale of a trained one is a float32: 9 digits name it; another is a string."""
    if grid is None:
        return None
    short = float(f"{grid.scale:.9g}")
    return [grid.bits, short if _float32(short) == grid.scale else repr(grid.scale), grid.zero_point, grid.spare]


def _read_grid(plain: list[Any]) -> CodeGrid:
    """The inverse of `_grid`."""
    bits, scale, zero_point, spare = plain
    return CodeGrid(bits, float(scale) if isinstance(scale, str) else _float32(scale), zero_point, spare)


def _float32(value: float) -> float:
    return torch.tensor(value, dtype=torch.float32).item()


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
