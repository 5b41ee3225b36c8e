"""Every field of the schema, flat: dotted name, type in words, default and meaning.

Error messages and `docs/reference/configuration.md` are made from it, so neither can drift from `dqrun/config/`.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from dqrun.config import RunConfig
from dqrun.config.parts import PARTS, names_with_fields

_WORDS = {int: "an integer", float: "a number", bool: "true or false", str: "text", types.NoneType: "null"}
_PLURALS = {int: "integers", float: "numbers", str: "texts"}

DICTIONARIES = ("plan.rules",)
"""Fields whose keys are the user's; their values have fields of their own."""

FREE = ("dataset.args",)
"""Fields whose keys and values are the user's: they are given whole."""

REQUIRED = dataclasses.MISSING
"""Default of a field whose value a preset must give."""


@dataclasses.dataclass(frozen=True)
class Field:
    """One field: `name` dotted from the root; `kind` in words; `default` or REQUIRED; `meaning` of `doc(...)`."""

    name: str
    kind: str
    default: object
    meaning: str
    nested: bool
    """Whether it holds fields of its own; these follow it."""


def list_fields(parts: Mapping[str, Any] | None = None) -> dict[str, Field]:
    """Every field by its dotted name, in the schema's order; a part comes before the fields in it.

    The values of a dictionary of dataclasses are listed once, with `*` for the key: `plan.rules.*.fp32`. `parts`: the
    class of a part where it is not that of the schema; without it those of everything registered are there.
    """
    found = {field.name: field for field in _walk(RunConfig, "", parts or {})}
    if parts is None:
        for part, name in names_with_fields():
            found |= {field.name: field for field in own_fields(part, name) if field.name not in found}
    return found


def own_fields(part: str, name: str) -> list[Field]:
    """The fields of the dataclass that is registered with a name."""
    own = next(kind.config(name) for kind in PARTS[part].kinds if name in kind)
    return [] if own is None else list(_walk(own, f"{part}.", {}))


def owners(name: str) -> list[str]:
    """The options, e.g. `model=sage`, that alone have a field; empty: the schema has it, or nothing has."""
    if name in {field.name for field in _walk(RunConfig, "", {})}:
        return []
    return [f"{p}={o}" for p, o in names_with_fields() if name in {field.name for field in own_fields(p, o)}]


def _walk(part: type, prefix: str, parts: Mapping[str, Any]) -> Iterator[Field]:
    hints = typing.get_type_hints(part)
    for field in dataclasses.fields(part):
        name = prefix + field.name
        hint = parts.get(name) or hints[field.name]
        inner, inner_prefix = _nested(hint, name)
        meaning = field.metadata.get("doc", "") or (inner.__doc__ or "" if inner else "")
        yield Field(name, describe_type(hint), _default(field), meaning, inner is not None)
        if inner is not None:
            yield from _walk(inner, inner_prefix, {})


def _nested(hint: typing.Any, name: str) -> tuple[type | None, str]:
    """The dataclass inside a type hint and the prefix of its fields; (None, "") for a plain value."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return hint, f"{name}."
    if typing.get_origin(hint) is dict and dataclasses.is_dataclass(typing.get_args(hint)[1]):
        return typing.get_args(hint)[1], f"{name}.*."
    return None, ""


def _default(field: dataclasses.Field[typing.Any]) -> object:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return REQUIRED if field.default == "???" else field.default


def describe_type(hint: typing.Any) -> str:
    """A type hint in words: `int | None` is "an integer or null", `list[int]` "a list of integers"."""
    if hint in _WORDS:
        return _WORDS[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(describe_type(argument) for argument in arguments)
    if origin is list:
        return f"a list of {_PLURALS[arguments[0]]}"
    return "a mapping" if origin is dict and typing.Any in arguments else "a group of fields"


def schema_name(name: str) -> str:
    """The name under which `list_fields` has a field: `protocol.folds[0]` is `protocol.folds`, entries are `*`."""
    name = re.sub(r"\[\d+\]", "", name)
    for part in DICTIONARIES:
        if name.startswith(f"{part}."):  # the key may hold dots itself: only the last one ends it
            return f"{part}.*.{name.rpartition('.')[2]}"
    return name


def nearest_field(name: str) -> str | None:
    """The field that a wrong `name` most likely means: a sibling, else one of that name elsewhere, else None."""
    fields = list_fields()
    parent, _, leaf = schema_name(name).rpartition(".")
    siblings = {field.rpartition(".")[2]: field for field in fields if field.rpartition(".")[0] == parent}
    deepest_first = sorted(fields, key=lambda field: -field.count("."))  # of equal names the least deep one is meant
    everywhere = {field.rpartition(".")[2]: field for field in deepest_first}
    full = {} if parent in fields else {field: field for field in fields}
    for word, candidates in ((leaf, siblings), (name, full), (leaf, everywhere)):
        near = difflib.get_close_matches(word, candidates, n=1, cutoff=0.75)
        if near:
            return candidates[near[0]]
    return None
