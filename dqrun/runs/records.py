"""Strict readers of small files: JSON, YAML, and lines of tables whose fields a dataclass declares."""

from __future__ import annotations

import json
import math
import stat
import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from dqrun.config.field_types import described

_MAX_BYTES = 1 << 20
_MAX_NODES = 10_000


def read_text(path: Path) -> str:
    """The text of a small file; raises OSError, or ValueError in one line for any other file."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait forever
        raise ValueError("it is no regular file")
    if status.st_size > _MAX_BYTES:
        raise ValueError(f"it is larger than {_MAX_BYTES} bytes")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError("it is not text in UTF-8") from None


def read_json(path: Path) -> Any:
    """The content of a small JSON file; raises OSError, or ValueError in one line for any other file."""
    return parse_json(read_text(path))


def parse_json(text: str) -> Any:
    """The content of a JSON text, read strictly; raises ValueError in one line."""
    try:
        return json.loads(text, parse_constant=_refuse, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def parse_yaml(text: str) -> dict[str, Any]:
    """The mapping that a YAML text holds; raises ValueError in one line for any other text.

    With aliases a short text can stand for a huge tree: a tree with more than _MAX_NODES values is refused.
    """
    import yaml

    try:
        tree = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:  # dates and numbers raise ValueError
        raise ValueError(f"it is not YAML: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(tree, dict) or not all(isinstance(name, str) for name in tree):
        raise ValueError("it holds no mapping of names")
    waiting, seen = [tree], 1
    while waiting:
        node = waiting.pop()
        inside = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        seen += len(inside)
        if seen > _MAX_NODES:
            raise ValueError(f"it has more than {_MAX_NODES} values")
        waiting += inside
    return tree


def check_types(record: type, values: object) -> dict[str, Any]:
    """A value for each field of the dataclass `record`, in its order, defaults filled in.

    Raises ValueError, in one line, for unknown and missing fields, for a value of another type, for numbers that are
    not finite or beyond 64 bits, and for text that UTF-8 can't hold.
    """
    if not isinstance(values, dict):
        raise ValueError("it holds no JSON object")
    known = _fields(record)
    if unknown := [str(name) for name in values if name not in known]:
        raise ValueError(f"it has the unknown field {short(unknown[0])}")
    if missing := [name for name, field in known.items() if field.required and name not in values]:
        raise ValueError(f"it lacks {', '.join(missing)}")
    checked = {}
    for name, field in known.items():
        value = values[name] if name in values else field.filled()
        if field.sequence is not None:  # JSON has lists
            fits = isinstance(value, list | tuple) and all(_fits(each, field.kinds) for each in value)
            value = field.sequence(value) if fits else value
        else:
            fits = _fits(value, field.kinds)
        if not fits:
            raise ValueError(f"{name} must be {described(field.hint)}, got {short(value)}")
        checked[name] = value
    return checked


def typed(record: type, cells: Mapping[str, str]) -> dict[str, Any]:
    """The cells of a table's line as the types that `record` declares; a cell that does not fit stays text."""
    known = _fields(record)
    return {name: _typed(known[name].kinds, text) if name in known else text for name, text in cells.items()}


def short(value: object) -> str:
    """A value in the form for errors."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


@dataclass(frozen=True, slots=True)
class _Field:
    """The allowed values of a dataclass field; computed once, because thousands of rows are checked."""

    hint: Any
    kinds: tuple[type, ...]  # of the value, or of each element of a sequence
    sequence: type | None  # list, tuple
    required: bool
    default: Any
    factory: Any  # of the default; MISSING: that is `default`

    def filled(self) -> Any:
        """The default of a field that is not required."""
        return self.default if self.factory is MISSING else self.factory()


@cache
def _fields(record: type) -> dict[str, _Field]:
    hints, found = get_type_hints(record), {}
    for field in fields(record):
        hint = hints[field.name]
        sequence = origin if (origin := get_origin(hint)) in (list, tuple) else None
        kinds = get_args(hint) or (hint,)
        default, factory = field.default, field.default_factory
        required = default is MISSING and factory is MISSING
        found[field.name] = _Field(hint, kinds, sequence, required, default, factory)
    return found


def _fits(value: object, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, int):
        return (int in kinds or float in kinds) and abs(value) < 2**63
    if isinstance(value, float):
        return float in kinds and math.isfinite(value)
    if isinstance(value, str):
        return str in kinds and (value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value))
    return value is None and types.NoneType in kinds


def _typed(kinds: tuple[type, ...], text: str) -> Any:
    if str in kinds:
        return text
    if text == "" and types.NoneType in kinds:
        return None
    if text != text.strip() or "_" in text:  # Python would read both
        return text
    if bool in kinds:
        return {"True": True, "False": False}.get(text, text)
    try:
        return float(text) if float in kinds else int(text)
    except ValueError:
        return text


def _refuse(constant: str) -> None:
    raise ValueError(f"it holds {constant}, which is no number of JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("it has a field twice")
    return found
