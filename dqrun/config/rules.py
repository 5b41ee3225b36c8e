"""How a field carries its documentation, and how a rule is checked."""

from __future__ import annotations

import re
from dataclasses import field
from typing import Any

from dqrun.errors import ConfigError


def doc(meaning: str, default: Any = ...) -> Any:
    """A dataclass field with its documentation; without a default the YAML must give the value."""
    metadata = {"doc": meaning}
    if default is ...:
        default = "???"
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def require(ok: bool, name: str, rule: str, value: object) -> None:
    if not ok:
        raise ConfigError.rule(name, rule, value)


def require_in(name: str, value: int, lowest: int, highest: int) -> None:
    require(lowest <= value <= highest, name, f"be in {lowest}..{highest}", value)


def require_label(name: str, value: str) -> None:
    require(re.fullmatch(r"\w+", value) is not None, name, "consist of letters, digits and _", value)


def require_one_of(name: str, value: str, options: tuple[str, ...]) -> None:
    require(value in options, name, f"be one of {', '.join(options)}", value)
