"""Every field of the schema, flat: dotted name, type in words, default and meaning.

Error messages and `docs/reference/configuration.md` are generated from it, so that both agree with `dqrun/config/`.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from dqrun.config import RunConfig
from dqrun.config.field_types import MAPPINGS, SEQUENCES, described, held, is_group, is_text, parts_of
from dqrun.config.parts import PARTS, names_with_fields, part_type

DICTIONARIES = ("plan.rules",)
"""Fields whose keys are the user's; their values have fields of their own."""

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
    quoting: str = ""
    """Which parts of a typed value are text: "text", "text or null", "a list of texts"; "" for none."""
    free: bool = False
    """Whether keys and values in it are the user's: it is given whole."""


def list_fields(parts: Mapping[str, Any] | None = None) -> dict[str, Field]:
    """Every field by its dotted name, in the schema's order; a part comes before the fields in it.

    The values of a dictionary of dataclasses are listed once, with `*` for the key: `plan.rules.*.fp32`. `parts`: the
    class of a part where it is not that of the schema; without it those of everything registered are there.
    """
    found = {field.name: field for field in (_walk(RunConfig, "", parts) if parts else _fields_of(RunConfig, ""))}
    if parts is None:
        for part, name in names_with_fields():
            found |= {field.name: field for field in own_fields(part, name) if field.name not in found}
    return found


def own_fields(part: str, name: str) -> list[Field]:
    """The fields of the dataclass that is registered with a name."""
    own = next(kind.config(name) for kind in PARTS[part].kinds if name in kind)
    part_type(part, name)  # which refuses a field that no configuration can hold
    return [] if own is None else list(_fields_of(own, f"{part}."))


def owners(name: str) -> list[str]:
    """The options, e.g. `model=sage`, that have a field which the schema lacks; empty if there are none."""
    if name in {field.name for field in _fields_of(RunConfig, "")}:
        return []
    return [f"{p}={o}" for p, o in names_with_fields() if name in {field.name for field in own_fields(p, o)}]


@cache
def _fields_of(part: type, prefix: str) -> tuple[Field, ...]:
    """The fields of a dataclass; cached, because each word of a command line needs them."""
    return tuple(_walk(part, prefix, {}))


def _walk(part: type, prefix: str, parts: Mapping[str, Any]) -> Iterator[Field]:
    hints = typing.get_type_hints(part)
    for field in dataclasses.fields(part):
        name = prefix + field.name
        hint = parts.get(name) or hints[field.name]
        inner, inner_prefix = _nested(hint, name)
        meaning = field.metadata.get("doc", "") or (inner.__doc__ or "" if inner else "")
        yield Field(
            name, described(hint), _default(field), meaning, inner is not None, _quoting(hint), _is_free(hint, inner)
        )
        if inner is not None:
            yield from _fields_of(inner, inner_prefix)


def _is_free(hint: typing.Any, inner: type | None) -> bool:
    """Whether a field holds a mapping of anything."""
    kind, parts = parts_of(hint)
    kinds = parts if kind is typing.Union else [hint]
    return inner is None and any(parts_of(each)[0] in (*MAPPINGS, typing.Any, object) for each in kinds)


def _nested(hint: typing.Any, name: str) -> tuple[type | None, str]:
    """The dataclass inside a type hint and the prefix of its fields; (None, "") for a plain value."""
    kind, parts = parts_of(hint)
    kinds = [part for part in parts if part is not types.NoneType] if kind is typing.Union else [kind]
    if len(kinds) == 1 and is_group(kinds[0]):
        return kinds[0], f"{name}."
    if typing.get_origin(hint) is dict and dataclasses.is_dataclass(typing.get_args(hint)[1]):
        return typing.get_args(hint)[1], f"{name}.*."
    return None, ""


def _default(field: dataclasses.Field[typing.Any]) -> object:
    if field.default_factory is not dataclasses.MISSING:
        return held(field.default_factory())
    return REQUIRED if field.default == "???" else held(field.default)


def _quoting(hint: typing.Any) -> str:
    """Which parts of a typed value are text: "text", "text or null", "a list of texts"; "" for none."""
    kind, parts = parts_of(hint)
    if kind is typing.Union and types.NoneType in parts:
        kinds = [part for part in parts if part is not types.NoneType]
        return "text or null" if len(kinds) == 1 and is_text(kinds[0]) else ""
    if kind in SEQUENCES:
        return "a list of texts" if parts and all(part is ... or is_text(part) for part in parts) else ""
    if is_text(hint):
        return "text or null" if None in parts else "text"
    return ""


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
