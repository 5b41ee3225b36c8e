"""Programs as files: their structure as JSON, weights and numbers per channel as tensors, in a `container`.

Nothing in a file is executed, and everything is checked: fields must have the types that the operations declare, and
the result must be a valid program (`validation`). Weights are packed like codes (`Weight.packed`). Numbers per channel
are float64 in a program; they are written as float32 if no value changes (biases and batch norms are float32). So a
loaded program equals the saved one bit by bit. docs/reference/program_format.md describes the format.
"""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import torch
from torch import Tensor

from dqrun import durable
from dqrun.errors import ConfigError, DataError
from dqrun.integer.container import FORMAT, MOST_BYTES, Damage, ForeignFormat, Reader, Writer
from dqrun.integer.operations import (
    Aggregate,
    Attention,
    DynamicAttention,
    Linear,
    LinearPair,
    Lookup,
    Operation,
    Quantize,
    Readout,
)
from dqrun.integer.plain import plain_grid, read_grid, scalar
from dqrun.integer.program import Program
from dqrun.kernels.integer import CodeGrid, Codes, Epilogue, Grid, RowGrid, Weight
from dqrun.kernels.integer.stored import row_bytes

KINDS: dict[str, type[Operation]] = {
    kind.__name__: kind
    for kind in (Quantize, Lookup, Linear, LinearPair, Aggregate, Attention, DynamicAttention, Readout)
}
PER_CHANNEL = ("multiplier", "bias", "gain", "offset")


def save_program(path: Path, program: Program) -> None:
    """Writes a program; raises OSError where the path cannot be written, ConfigError for one that is too large."""
    writer = Writer()
    operations = [_split(operation, writer) for operation in program.operations]
    structure = {"self_loops": program.self_loops, "operations": operations, "origin": program.origin}
    durable.write_bytes(path, writer.write(structure))


def load_program(path: Path | str) -> Program:
    """Reads a program; raises DataError in one line for a missing, damaged or foreign file."""
    try:
        data = _read(Path(path))
    except OSError as error:
        raise DataError(f"{path} must be a program file that can be read ({_reason(error)})") from None
    try:
        return _program(Reader(data))
    except ForeignFormat:
        raise DataError(f"{path} is not a program file of format {FORMAT}: dqrun export writes one") from None
    except (Damage, ConfigError) as error:
        raise DataError(f"{path} is a damaged program file ({error})") from None


def _read(path: Path) -> bytes:
    """The bytes of a regular file; a file larger than any program is truncated, which `Reader` then refuses."""
    if path.exists() and not path.is_file():  # reading a pipe would wait forever
        raise IsADirectoryError(0, "is a directory") if path.is_dir() else OSError(0, "is no regular file")
    with path.open("rb") as file:
        return file.read(min(os.fstat(file.fileno()).st_size, 2 * MOST_BYTES))


def _program(reader: Reader) -> Program:
    structure = reader.structure
    _require_fields("structure", structure, {"self_loops", "operations", "origin"}, set())
    listed, self_loops, origin = structure["operations"], structure["self_loops"], structure["origin"]
    if not isinstance(listed, list) or not isinstance(origin, dict):
        raise Damage("operations must be a list, and origin an object")
    operations = tuple(_join(f"operations.{i}", plain, reader) for i, plain in enumerate(listed))
    reader.require_end()
    return Program(operations, scalar("self_loops", bool, self_loops), origin)


def _reason(error: OSError) -> str:
    """Why a file cannot be read, in plain words."""
    return "no such file" if isinstance(error, FileNotFoundError) else (error.strerror or str(error)).lower()


def _split(operation: Operation, writer: Writer) -> dict[str, Any]:
    """An operation as plain data; its tensors go to the writer."""
    plain: dict[str, Any] = {"kind": type(operation).__name__}
    defaults = {field.name: field.default for field in fields(operation)}
    for name, value in vars(operation).items():
        if isinstance(value, Weight):
            bits = getattr(operation, f"{name}_bits")
            plain[name] = {"inputs": value.codes.size(1), "codes": writer.put(value.packed(bits))}
        elif isinstance(value, Codes):
            plain[name] = {"channels": value.channels, "grid": plain_grid(value.grid), "codes": writer.put(value.data)}
            if value.numbers is not None:
                plain[name]["numbers"] = writer.put(value.numbers)
        elif isinstance(value, Epilogue):
            switches = {"pre_relu": value.pre_relu, "activation": value.activation, "grid": plain_grid(value.grid)}
            parts = {part: writer.put(_narrow(t)) for part in PER_CHANNEL if (t := getattr(value, part)) is not None}
            plain[name] = {k: switch for k, switch in switches.items() if switch not in (False, "none", None)} | parts
        elif isinstance(value, Tensor):
            plain[name] = writer.put(value)
        elif isinstance(value, CodeGrid | RowGrid):
            plain[name] = plain_grid(value)
        elif value != defaults[name]:
            plain[name] = value
    return plain


def _join(where: str, plain: object, reader: Reader) -> Operation:
    """The inverse of `_split`: the next operation of a file. Tensors come in the order of the fields."""
    name = plain.get("kind") if isinstance(plain, dict) else None
    if not isinstance(plain, dict) or not isinstance(name, str) or name not in KINDS:
        raise Damage(f"{where}.kind must be one of {', '.join(KINDS)}")
    kind = KINDS[name]
    defaults = {field.name for field in fields(kind) if isinstance(field.default, str | bool)}
    given = {field.name for field in fields(kind)} - defaults
    _require_fields(where, plain, {"kind", *given}, defaults)
    values: dict[str, Any] = {}
    hints = get_type_hints(kind)
    for field, hint in hints.items():
        if field in plain and hint not in READERS:
            values[field] = scalar(f"{where}.{field}", hint, plain[field])
    for field, hint in hints.items():
        if field in plain and hint in READERS:
            values[field] = READERS[hint](f"{where}.{field}", plain[field], reader, values)
    return kind(**values)


def _read_weight(where: str, plain: object, reader: Reader, operation: dict[str, Any]) -> Weight:
    record = _require_fields(where, plain, {"inputs", "codes"}, set())
    inputs = scalar(f"{where}.inputs", int, record["inputs"])
    bits = operation[f"{where.rpartition('.')[2]}_bits"]
    stored = reader.take(record["codes"])
    if not 1 <= bits <= 8:
        raise Damage(f"{where}_bits must be in 1..8, got {bits}")
    wanted = (torch.uint8 if bits <= 4 else torch.int8, row_bytes(inputs, bits))
    if stored.dim() != 2 or (stored.dtype, stored.size(1)) != wanted:
        raise Damage(f"{where}.codes must be {wanted[0]} [M, {wanted[1]}], got {record['codes']}")
    return Weight.of_packed(stored, inputs, bits)


def _read_table(where: str, plain: object, reader: Reader, operation: dict[str, Any]) -> Codes:
    record = _require_fields(where, plain, {"channels", "grid", "codes"}, {"numbers"})
    channels = scalar(f"{where}.channels", int, record["channels"])
    codes, grid = reader.take(record["codes"]), read_grid(f"{where}.grid", record["grid"])
    return Codes(codes, channels, grid, reader.take(record["numbers"]) if "numbers" in record else None)


def _read_vectors(where: str, plain: object, reader: Reader, operation: dict[str, Any]) -> Tensor:
    return reader.take(plain)


def _read_epilogue(where: str, plain: object, reader: Reader, operation: dict[str, Any]) -> Epilogue:
    optional = {"pre_relu", "activation", "grid", *PER_CHANNEL[1:]}
    record = _require_fields(where, plain, {"multiplier"}, optional)
    present = [part for part in PER_CHANNEL if part in record]
    parts: dict[str, Any] = {part: _take_numbers(f"{where}.{part}", record[part], reader) for part in present}
    grid = read_grid(f"{where}.grid", record["grid"]) if "grid" in record else None
    relu = scalar(f"{where}.pre_relu", bool, record.get("pre_relu", False))
    activation = scalar(f"{where}.activation", str, record.get("activation", "none"))
    return Epilogue(**parts, pre_relu=relu, activation=activation, grid=grid)


def _take_numbers(where: str, spec: object, reader: Reader) -> Tensor:
    """Numbers per channel, float64 [C]."""
    numbers = reader.take(spec)
    if not numbers.is_floating_point() or numbers.dim() != 1:
        raise Damage(f"{where} must be f4 or f8 [C], got {spec}")
    return numbers.double()


def _read_code_grid(where: str, plain: object, reader: Reader, operation: dict[str, Any]) -> Grid:
    return read_grid(where, plain)


READERS: dict[Any, Any] = {
    Weight: _read_weight,
    Codes: _read_table,
    Tensor: _read_vectors,
    Epilogue: _read_epilogue,
    Grid: _read_code_grid,
}
"""Fields of operations that are more than a number, a text or a switch."""


def _require_fields(where: str, plain: object, needed: set[str], optional: set[str]) -> dict[str, Any]:
    """An object of the structure; raises an error for missing and for unknown fields."""
    if not isinstance(plain, dict):
        raise Damage(f"{where} must be an object")
    if missing := sorted(needed - plain.keys()):
        raise Damage(f"{where} must have {missing[0]}")
    if unknown := sorted(plain.keys() - needed - optional):
        raise Damage(f"{where} must not have {unknown[0][:40]!r}")
    return plain


def _narrow(values: Tensor) -> Tensor:
    """Float64 values as float32 if none of them changes, else as they are."""
    narrow = values.float()
    return narrow if torch.equal(narrow.double(), values) else values
