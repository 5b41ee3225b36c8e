"""The space of a search: the settings of a configuration, and their ranges around its defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from itertools import chain
from typing import Any

from dqrun import register
from dqrun.config import RunConfig
from dqrun.config.method import MethodConfig
from dqrun.config.parts import part_type
from dqrun.config.search import Dimension, around
from dqrun.errors import ConfigError, suggestion

SETTINGS = ("lr", "weight_decay", "dropout")
"""Settings of every configuration; a method may add others."""


def space_of(config: RunConfig, names: Sequence[str] | None = None) -> list[Dimension]:
    """The dimensions among `names` (None: all) that affect this configuration; those of its method come last.

    Learning rate: a tenth to ten times the default. Raises ConfigError for the name of an unknown setting.
    """
    own = config.own_train
    trained = [
        Dimension("lr", (_own(config, "lr"),), own.lr / 10, own.lr * 10, own.lr),
        around("weight_decay", (_own(config, "weight_decay"),), 1e-7, 1e-2, own.weight_decay, zero_below=1e-6),
    ]
    offered = [
        *(trained if config.method.fine_tunes or not config.starts_warm else []),
        around("dropout", ("model.dropout",), 0.0, 0.7, config.model.dropout, log=False),
        *([] if config.quant.is_fp32 else config.method.dimensions_in(config)),
    ]
    known = known_settings()
    for name in names or ():
        if name not in known:
            hint = suggestion(name, known)
            raise ConfigError(f"--search must name settings among {', '.join(known)}, got {name!r}{hint}")
    return [dimension for dimension in offered if names is None or dimension.name.partition(".")[0] in names]


def known_settings() -> list[str]:
    """Names of settings: those of every configuration and those of all registered methods."""
    methods = [part_type("method", kind) for kind in register.method.names()]
    of_methods = [made.settings for made in methods if issubclass(made, MethodConfig)]
    return [*dict.fromkeys(chain(SETTINGS, *of_methods))]


def _own(config: RunConfig, name: str) -> str:
    """The field of a training setting of this run; with a warm start `train` has the settings of the FP32 trial."""
    return f"train.fine_tune.{name}" if config.starts_warm else f"train.{name}"


def values_of(space: Sequence[Dimension], parameters: Mapping[str, float], config: RunConfig) -> dict[str, float]:
    """Field values for drawn parameters, rounded to four significant digits, so that presets have the exact value."""
    values: dict[str, float] = {}
    for dimension in space:
        value = parameters[dimension.name]
        if dimension.whole:
            values.update(dict.fromkeys(dimension.fields, int(value)))
            continue
        if dimension.share_of:
            value *= values.get(dimension.share_of, get(config, dimension.share_of))
        value = 0.0 if value < dimension.zero_below else float(f"{value:.4g}")
        values.update(dict.fromkeys(dimension.fields, value))
    return values


def get(config: Any, name: str) -> Any:
    """The value of a dotted field of a dataclass, dictionary or list."""
    for part in name.split("."):
        if isinstance(config, list):
            config = config[int(part)]
        else:
            config = config[part] if isinstance(config, dict) else getattr(config, part)
    return config


def stated(name: str) -> str:
    """The field of a dotted name in a preset: for an element of a list, the whole list."""
    return ".".join(part for part in name.split(".") if not part.isdecimal())


def with_values(config: Any, values: Mapping[str, Any]) -> Any:
    """A copy of a configuration with new values for some dotted fields; raises KeyError for an unknown field.

    `FIELD.I` is element I of a list of numbers; a shorter list is extended by zeros.
    """
    if isinstance(config, list):
        indices = {int(index): value for index, value in values.items()}
        size = max(len(config), *(index + 1 for index in indices))
        return [indices.get(i, config[i] if i < len(config) else 0) for i in range(size)]
    known = {field.name for field in fields(config)}
    changes: dict[str, Any] = {}
    for name, value in values.items():
        head, _, rest = name.partition(".")
        if head not in known:
            raise KeyError(name)
        part = changes.get(head, getattr(config, head))
        changes[head] = with_values(part, {rest: value}) if rest else value
    return replace(config, **changes)
