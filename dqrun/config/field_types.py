"""Types of the fields that a plug-in declares: how a configuration holds their values, and what the plug-in gets.

A configuration holds what YAML can say: numbers, text, true and false, lists, mappings and groups of fields.
`held_type` gives the type for that, `held` and `given` take a value there and back: an `Enum` is held by its name, a
`Path` as text, a tuple or a set as a list, a `Literal` as what its values are.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import types
import typing
from enum import Enum
from functools import cache
from pathlib import PurePath
from typing import Any, Literal, Optional, Union

from dqrun.errors import ConfigError

PLAIN = (bool, int, float, str)
SEQUENCES = {
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    collections.abc.Sequence: list,
    collections.abc.Iterable: list,
    collections.abc.Collection: list,
}
"""Kinds of lists, each with what makes one."""
MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


class Unholdable(Exception):
    """A type that no configuration holds; its text is the type."""


def bare(hint: Any) -> Any:
    """A type without `Annotated`, `NewType` and `Final` around it."""
    while True:
        if typing.get_origin(hint) in (typing.Annotated, typing.Final):
            hint = typing.get_args(hint)[0]
        elif isinstance(hint, typing.NewType):
            hint = hint.__supertype__
        else:
            return hint


def parts_of(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """The kind of a type (`Union` for `a | b`, `list` for `list[int]`, else the type itself), and its parts."""
    hint = bare(hint)
    origin = typing.get_origin(hint)
    return Union if origin is types.UnionType else origin or hint, typing.get_args(hint)


def is_group(hint: Any) -> bool:
    """Whether a type is a dataclass."""
    return isinstance(hint, type) and dataclasses.is_dataclass(hint)


def held_type(hint: Any) -> Any:
    """The type as which a configuration holds values of a type; raises Unholdable where there is none."""
    kind, parts = parts_of(hint)
    if kind in PLAIN or kind is Any:
        return kind
    if kind is object:
        return Any
    if isinstance(kind, type) and issubclass(kind, PurePath | Enum):
        return str
    if is_group(kind):
        return held_class(kind)
    if kind is Literal:
        return _one_of([type(value) for value in parts])
    if kind is Union:
        return _one_of(list(parts))
    if kind in SEQUENCES:
        inner = {held_type(part) for part in parts if part is not ...}
        return list[inner.pop()] if len(inner) == 1 else list[Any]  # type: ignore[misc]
    if kind in MAPPINGS:
        key, value = parts or (str, Any)
        if held_type(key) not in PLAIN:
            raise Unholdable(_shown(hint))
        return dict[held_type(key), held_type(value)]  # type: ignore[misc]
    raise Unholdable(_shown(hint))


def _one_of(kinds: list[Any]) -> Any:
    """The type that holds values of any of some types."""
    nothing = type(None)
    found = list(dict.fromkeys(held_type(kind) for kind in kinds if kind is not nothing))
    if len(found) == 1:
        return Optional[found[0]] if nothing in kinds else found[0]  # noqa: UP045
    if not all(kind in PLAIN for kind in found):
        return Any
    return Union[tuple([*found, *([nothing] if nothing in kinds else [])])]  # noqa: UP007


@cache
def held_class(own: type) -> type:
    """The dataclass that a configuration holds in place of a plug-in's: itself where it can."""
    hints = typing.get_type_hints(own, include_extras=True)
    changed, fields = own.__dataclass_params__.frozen, list[Any]()  # type: ignore[attr-defined]
    for field in dataclasses.fields(own):
        if not field.init:
            raise Unholdable(f"{own.__name__} with a field {field.name!r} that is no argument")
        kind = held_type(hints[field.name])
        changed |= kind != hints[field.name]
        fields.append((field.name, kind, held_field(field)))
    if not changed:
        return own
    made = dataclasses.make_dataclass(own.__name__, fields, kw_only=True, namespace={"__reduce__": _reduced})
    made.__doc__, made.__held_of__ = own.__doc__, own  # type: ignore[attr-defined]
    return made


def _reduced(self: Any) -> tuple[Any, ...]:
    """Such a class is made anew in each process."""
    values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
    return _rebuilt, (type(self).__held_of__, values)


def _rebuilt(own: type, values: dict[str, Any]) -> Any:
    return held_class(own)(**values)


def held_field(field: dataclasses.Field[Any]) -> Any:
    """The same field with its default as it is held; one without a default must be given: "???"."""
    if field.default_factory is not dataclasses.MISSING:
        make = field.default_factory
        return dataclasses.field(default_factory=lambda: held(make()), metadata=field.metadata)
    if field.default is dataclasses.MISSING or field.default == "???":
        return dataclasses.field(default="???", metadata=field.metadata)
    default = held(field.default)
    if isinstance(default, list | dict) or dataclasses.is_dataclass(default):
        return dataclasses.field(default_factory=lambda: held(field.default), metadata=field.metadata)
    return dataclasses.field(default=default, metadata=field.metadata)


def held(value: Any) -> Any:
    """A plug-in's value as a configuration holds it."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(held(each) for each in value)
    if isinstance(value, list | tuple):
        return [held(each) for each in value]
    if isinstance(value, dict):
        return {key: held(each) for key, each in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        own, values = type(value), {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return held_class(own)(**{name: held(each) for name, each in values.items()})
    return value


def given(value: Any, hint: Any, name: str) -> Any:
    """A held value as the plug-in's type has it; raises ConfigError with the field `name` for one of another type."""
    kind, parts = parts_of(hint)
    if kind in (Any, object):
        return value
    if kind is Union:
        return _first_of(value, parts, name)
    if kind is Literal:
        return _require(any(value == each and type(value) is type(each) for each in parts), value, hint, name)
    if isinstance(kind, type) and issubclass(kind, Enum):
        _require(isinstance(value, str) and value in kind.__members__, value, hint, name)
        return kind[value]
    if isinstance(kind, type) and issubclass(kind, PurePath):
        return kind(_require(isinstance(value, str), value, hint, name))
    if is_group(kind):
        return _group(value, kind, name)
    if kind in SEQUENCES:
        return _sequence(value, kind, parts, name)
    if kind in MAPPINGS:
        _require(isinstance(value, dict), value, hint, name)
        return {key: given(each, parts[1] if parts else Any, f"{name}.{key}") for key, each in value.items()}
    if kind is float and type(value) is int:
        return float(value)
    return _require(type(value) is kind or (value is None and kind is type(None)), value, hint, name)


def _first_of(value: Any, kinds: tuple[Any, ...], name: str) -> Any:
    """The value as the first type that takes it, its very own type before those to which it would be converted."""
    if type(value) in kinds:
        return value
    for kind in kinds:
        try:
            return given(value, kind, name)
        except ConfigError:
            continue
    raise ConfigError.rule(name, f"be {' or '.join(map(described, kinds))}", value)


def _group(value: Any, kind: type, name: str) -> Any:
    hints = typing.get_type_hints(kind, include_extras=True)
    values = value if isinstance(value, dict) else getattr(value, "__dict__", None)
    _require(values is not None, value, kind, name)
    assert values is not None
    unknown = sorted(values.keys() - {field.name for field in dataclasses.fields(kind)})
    if unknown:
        raise ConfigError(f"there is no field '{name}.{unknown[0]}'")
    return kind(**{field: given(each, hints[field], f"{name}.{field}") for field, each in values.items()})


def _sequence(value: Any, kind: Any, parts: tuple[Any, ...], name: str) -> Any:
    rule = f"be {described(kind[parts] if parts else kind)}"
    if not isinstance(value, list):
        raise ConfigError.rule(name, rule, value)
    fixed = kind is tuple and parts and parts[-1] is not ...
    if fixed and len(value) != len(parts):
        raise ConfigError.rule(name, rule, value)
    kinds = parts if fixed else [parts[0] if parts else Any] * len(value)
    return SEQUENCES[kind](
        given(each, part, f"{name}[{i}]") for i, (each, part) in enumerate(zip(value, kinds, strict=True))
    )


def _require(holds: bool, value: Any, hint: Any, name: str) -> Any:
    if not holds:
        raise ConfigError.rule(name, f"be {described(hint)}", value)
    return value


_WORDS = {
    int: "an integer", float: "a number", bool: "true or false", str: "text", type(None): "null", None: "null",
    Any: "any value", object: "any value",
}  # fmt: skip
_PLURALS = {int: "integers", float: "numbers", str: "texts", bool: "truth values", Any: "values"}


def described(hint: Any) -> str:
    """A type in words: `int | None` is "an integer or null", `list[int]` "a list of integers"."""
    kind, parts = parts_of(hint)
    if kind in _WORDS:
        return _WORDS[kind]
    if kind is Union:
        return " or ".join(described(part) for part in parts)
    if kind is Literal:
        return f"one of {', '.join('null' if value is None else str(value) for value in parts)}"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f"one of {', '.join(kind.__members__)}"
    if isinstance(kind, type) and issubclass(kind, PurePath):
        return "the path of a file or folder"
    if kind in SEQUENCES:
        inner = [part for part in parts if part is not ...]
        if kind is tuple and ... not in parts and parts:
            return f"a list of {len(parts)}: {', '.join(map(described, parts))}"
        return f"a list of {_PLURALS.get(inner[0]) or described(inner[0])}" if inner else "a list"
    of_groups = len(parts) == 2 and is_group(parts[1])
    return "a mapping" if kind in MAPPINGS and not of_groups else "a group of fields"


def is_text(hint: Any) -> bool:
    """Whether what is typed for a field is text, however it looks."""
    kind, parts = parts_of(hint)
    if kind is Literal:
        return all(isinstance(value, str) for value in parts if value is not None)
    return kind is str or (isinstance(kind, type) and issubclass(kind, Enum | PurePath))


def _shown(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
