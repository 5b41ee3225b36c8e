"""Fields of the user's own in `dataset`, `model` and `method`: the dataclass that a plug-in registers, as a part.

A registered dataclass becomes a subclass of the part that it extends, so that composition types, documents and checks
its fields like any other. Such a class is made anew in each process: it is pickled by its name in the registry.
"""

from __future__ import annotations

import copy
import dataclasses
import sys
import typing
from functools import cache
from pathlib import Path
from typing import Any

from dqrun import register
from dqrun.config.dataset import DatasetConfig
from dqrun.config.field_types import Unholdable, given, held, held_field, held_type
from dqrun.config.method import MethodConfig, fp32_method
from dqrun.config.model import ModelConfig
from dqrun.config.rules import require
from dqrun.errors import ConfigError, DqrunError
from dqrun.register import Registry

DEFAULT_SIZES = {"layers": 2, "hidden": 64}
"""Default sizes of a network whose layers a plug-in registered."""
OWN = "__own_config__"
"""Attribute of an extended class: the registered dataclass."""


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of a run that plug-ins extend: its class, the field that chooses, and the kinds that it chooses from.

    `absent`: the choice that stands for no choice, which no kind has: FP32 has no method.
    """

    base: type
    chooser: str
    kinds: tuple[Registry, ...]
    absent: str = ""

    def kind_of(self, name: str) -> Registry | None:
        """The kind that has the name, or None."""
        return next((kind for kind in self.kinds if name in kind), None)


PARTS = {
    "dataset": Part(DatasetConfig, "source", (register.dataset,)),
    "model": Part(ModelConfig, "name", (register.layer, register.model)),
    "method": Part(MethodConfig, "kind", (register.method,), fp32_method().kind),
}


def part_type(part: str, name: str) -> type:
    """The class of a part where `name` is chosen: its own one, or a subclass with the registered fields."""
    known = PARTS[part]
    kind = known.kind_of(name)
    if kind is None:
        return known.base
    own: Any = kind.config(name)
    if own is not None and issubclass(own, known.base):
        return _of_subclass(part, name, own) if kind.entry(name).module else own
    return known.base if own is None and kind is not register.model else _extended(part, name, own)


def own_config(part: Any) -> Any:
    """The registered dataclass with a part's values, or None where its choice has none."""
    own = getattr(type(part), OWN, None)
    if own is None:
        return None
    hints, name = typing.get_type_hints(own, include_extras=True), _part_of(part)
    fields = [field.name for field in dataclasses.fields(own) if field.init]
    return own(**{field: given(getattr(part, field), hints[field], f"{name}.{field}") for field in fields})


def as_given(part: Any) -> Any:
    """A part as the code gets it that a plug-in registered: its own fields have the values of their own types."""
    own = getattr(type(part), OWN, None)
    if own is None or isinstance(part, own):
        return part if own is None else own_config(part)
    found = copy.copy(part)
    for name, value in vars(own_config(part)).items():
        setattr(found, name, value)
    return found


def has_field(part: Any, name: str) -> bool:
    """Whether a field means something for what the part chose: whole networks have only the fields of their own."""
    whole = isinstance(part, ModelConfig) and part.name in register.model
    return not whole or name in _own_fields(type(part))


def meaningful_fields(part: str, chosen: str, made: type) -> set[str]:
    """The fields that mean something where `chosen` is chosen; `made`: the part's class then."""
    own = _own_fields(made)
    whole = part == "model" and chosen in register.model
    return own if whole else own | {field.name for field in dataclasses.fields(made)}


def chosen_names() -> dict[str, list[str]]:
    """Names that plug-ins added, by the group in which they are options."""
    return {part: sorted(name for kind in known.kinds for name in kind.added()) for part, known in PARTS.items()}


def names_with_fields() -> list[tuple[str, str]]:
    """(part, name) of all that has fields of its own, of dqrun and of plug-ins."""
    return [
        (part, name)
        for part, known in PARTS.items()
        for kind in known.kinds
        for name in kind.names()
        if kind.config(name) is not None
    ]


def node_of(part: str, name: str) -> Any:
    """The values of the option `part=name`, as an instance of its class; a field that has no default is "???"."""
    settings: dict[str, Any] = {"name": name} | ({} if part == "model" else {PARTS[part].chooser: name})
    made = part_type(part, name)
    if part == "model" and name in register.layer:
        settings |= {size: value for size, value in DEFAULT_SIZES.items() if size not in _own_fields(made)}
    if part == "dataset" and "task" not in _own_fields(made):
        settings["task"] = "graph_classification"
    return made(**settings)


def _own_fields(made: type) -> set[str]:
    own = getattr(made, OWN, None)
    return set() if own is None else {field.name for field in dataclasses.fields(own)}


def _fields(part: str, name: str, own: type) -> list[tuple[str, Any, Any]]:
    """The fields of a registered dataclass as a configuration holds them, for `make_dataclass`.

    Raises ConfigError, in one line with the plug-in, the field and its type, for a type that none can hold.
    """
    where = f"register.{_kind(part, name)}({name!r}{_file(part, name)}): config {own.__name__}"
    try:
        hints = typing.get_type_hints(own, include_extras=True)
    except (NameError, TypeError, AttributeError) as error:
        raise ConfigError(f"{where} has a field whose type can't be read: {error}") from None
    fields = []
    for field in dataclasses.fields(own):
        if issubclass(own, PARTS[part].base) and field.name == PARTS[part].chooser:
            continue
        if field.name == PARTS[part].chooser or not field.init:
            raise ConfigError(f"register.{part}({name!r}): its config must not have a field {field.name!r}")
        try:
            fields.append((field.name, held_type(hints[field.name]), held_field(field)))
        except (Unholdable, RecursionError) as error:
            found = error if isinstance(error, Unholdable) else "a type that holds itself"
            rule = "numbers, text, bool, Literal, Enum, Path, lists, tuples, dicts of text, dataclasses, and | of them"
            raise ConfigError(f"{where}: field {field.name!r} has type {found}, known are {rule}") from None
        _require_default(field, hints[field.name], f"{where}: field {field.name!r}")
    return fields


def _require_default(field: dataclasses.Field[Any], hint: Any, where: str) -> None:
    """Raises ConfigError where a default is not of the field's type."""
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    if default is not dataclasses.MISSING and default != "???":
        given(held(default), hint, f"{where}, its default,")


def _kind(part: str, name: str) -> str:
    kind = PARTS[part].kind_of(name)
    return part if kind is None else kind.kind


def _file(part: str, name: str) -> str:
    """The file of the plug-in that registered a name, for errors."""
    kind = PARTS[part].kind_of(name)
    file = getattr(sys.modules.get(kind.entry(name).module if kind else ""), "__file__", None)
    return f" in {Path(file).name}" if file else ""


@cache
def _of_subclass(part: str, name: str, own: type) -> type:
    """A registered subclass of a part's class, which is that part; where a configuration can't hold one of its fields,
    a subclass of it that can, and asks the registered one for everything that it says of itself.
    """
    hints = typing.get_type_hints(own, include_extras=True)
    changed: list[Any] = [field for field in _fields(part, name, own) if field[1] != hints[field[0]]]
    if not changed:
        return own
    asked = {each: _asking(each) for each in ("validate", "validate_in", "columns", "dimensions", "dimensions_in")}
    namespace = {OWN: own, "__reduce__": _reduced, "effective": _effective, **asked}
    made = dataclasses.make_dataclass(own.__name__, changed, bases=(own,), namespace=namespace)
    made.__doc__ = own.__doc__
    return made


def _asking(name: str) -> Any:
    """A method that calls the registered dataclass's."""
    return lambda self, *args: getattr(own_config(self), name)(*args)


def _effective(self: Any) -> Any:
    effective = own_config(self).effective()
    return type(self)(**{field.name: held(getattr(effective, field.name)) for field in dataclasses.fields(self)})


@cache
def _extended(part: str, name: str, own: type | None) -> type:
    """A subclass of a part's class with the fields of `own`, whose rules it checks too."""
    base = PARTS[part].base
    fields: list[Any] = [] if own is None else _fields(part, name, own)
    whole = part == "model" and name in register.model
    if whole:  # they mean nothing here, and no value would be right
        given = {known for known, _, _ in fields}
        unused = {field.name for field in dataclasses.fields(base)} - given
        fields += [(size, int, dataclasses.field(default=1)) for size in ("layers", "hidden") if size in unused]
    namespace = {OWN: own, "validate": _validate_whole if whole else _validate_added, "__reduce__": _reduced}
    made = dataclasses.make_dataclass(
        own.__name__ if own else base.__name__, fields, bases=(base,), namespace=namespace
    )
    made.__doc__ = own.__doc__ if own else base.__doc__
    return made


def _validate_added(self: Any) -> None:
    """The part's own rules, then those of the registered dataclass."""
    PARTS[_part_of(self)].base.validate(self)  # type: ignore[attr-defined]
    _validate_own(self)


def _validate_whole(self: Any) -> None:
    """Fields that the network does not have must be left alone; then the rules of the registered dataclass."""
    own = _own_fields(type(self))
    for field in dataclasses.fields(type(self)):
        if field.name in own or field.name == "name":
            continue
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        rule = f"not be set for model={self.name}, which has {', '.join(sorted(own)) or 'no fields'}"
        value = getattr(self, field.name)
        require(value == default, f"model.{field.name}", rule, value)
    _validate_own(self)


def _validate_own(self: Any) -> None:
    part = _part_of(self)
    try:
        config = own_config(self)
        if hasattr(config, "validate"):
            config.validate()
    except (ValueError, TypeError) as error:  # of a user's own rule
        raise ConfigError(f"{part}: {' '.join(str(error).split())}") from error
    except DqrunError:
        raise
    except Exception as error:  # a mistake in the user's rules
        chosen = getattr(self, PARTS[part].chooser)
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"{part}={chosen}: validate of its config failed: {reason}") from error


def _part_of(config: Any) -> str:
    return next(part for part, known in PARTS.items() if isinstance(config, known.base))


def _reduced(self: Any) -> tuple[Any, ...]:
    part = _part_of(self)
    values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
    return _rebuilt, (part, getattr(self, PARTS[part].chooser), values)


def _rebuilt(part: str, name: str, values: dict[str, Any]) -> Any:
    return part_type(part, name)(**values)
