"""How a field carries its documentation, and how a rule is checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from dqrun.errors import ConfigError, printable

LARGEST = LARGEST_SEED = 2**32 - 1  # a seed of numpy and scikit-learn
LONGEST_NAME = 200
NAME_RULE = f"be text of 1 to {LONGEST_NAME} characters that begins and ends with no space"


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


def require_name(name: str, value: str) -> None:
    """The one rule of names: any text that can be shown. `dqrun.names` makes it a part of a path where it is one."""
    require(0 < len(value) <= LONGEST_NAME and value.strip() == value, name, NAME_RULE, value)


def require_sane(tree: Mapping[str, Any], prefix: str = "") -> None:
    """Raises ConfigError for a number of a configuration that no tensor could hold, or text that can't be shown."""
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            require_sane(value, f"{name}.")
        elif isinstance(value, list):
            require_sane({f"{i}": part for i, part in enumerate(value)}, f"{name}.")
        elif isinstance(value, float):
            require(math.isfinite(value), name, "be finite", value)
        elif isinstance(value, int):
            require(abs(value) <= LARGEST, name, f"be in {-LARGEST}..{LARGEST}", value)
        elif isinstance(value, str):
            shown = value.replace("\n", "").replace("\t", "") if name == "notes" else value
            require(printable(shown) == shown, name, "hold no control characters", value)


def require_one_of(name: str, value: str, options: tuple[str, ...]) -> None:
    require(value in options, name, f"be one of {', '.join(options)}", value)


def shown(value: Any) -> str:
    """A value as one would type it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
