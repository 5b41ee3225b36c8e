"""What a search varies: the settings that a configuration has, and their ranges around its defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from dqrun.config import MethodConfig, RunConfig
from dqrun.errors import ConfigError, suggestion

SETTINGS = ("lr", "weight_decay", "dropout", "p_max", "p_min", "tail", "momentum")
OBSERVERS = ("observer", "weight_observer")


@dataclass(frozen=True)
class Dimension:
    """One setting and its range; drawn evenly in the logarithm with `log`."""

    name: str
    fields: tuple[str, ...]
    """The dotted fields that get the value."""
    low: float
    high: float
    default: float
    log: bool = True
    zero_below: float = 0.0
    """A smaller value stands for 0, which no logarithmic range holds."""
    share_of: str = ""
    """The value is a share of that field's, so that it can't exceed it."""

    def describe(self) -> str:
        """E.g. `lr 0.0002 to 0.02`."""
        share = f" (share of {self.share_of})" if self.share_of else ""
        return f"{self.name} {self.low:g} to {self.high:g}{share}"


def space_of(config: RunConfig, names: Sequence[str]) -> list[Dimension]:
    """The dimensions among `names` that have an effect on this configuration.

    Learning rate: a tenth to ten times the default. p_min and p_max: where nodes are protected; tail: where ranges
    leave percentiles out; momentum: where ranges are moving averages.
    """
    for name in names:
        if name not in SETTINGS:
            hint = suggestion(name, SETTINGS)
            raise ConfigError(f"--search must name settings among {', '.join(SETTINGS)}, got {name!r}{hint}")
    makers: dict[str, Callable[[RunConfig], Dimension | None]] = {
        "lr": lambda c: Dimension("lr", (_own(c, "lr"),), c.own_train.lr / 10, c.own_train.lr * 10, c.own_train.lr),
        "weight_decay": lambda c: _around(
            "weight_decay", (_own(c, "weight_decay"),), 1e-7, 1e-2, c.own_train.weight_decay, zero_below=1e-6
        ),
        "dropout": lambda c: _around("dropout", ("model.dropout",), 0.0, 0.7, c.model.dropout, log=False),
        "p_max": _p_max,
        "p_min": _p_min,
        "tail": lambda c: _observed(c, "tail", 1e-4, 0.05, lambda observer: bool(observer.tail)),
        "momentum": lambda c: _observed(c, "momentum", 1e-3, 0.5, lambda observer: observer.update == "ema"),
    }
    found = [makers[name](config) for name in SETTINGS if name in names]
    return [dimension for dimension in found if dimension is not None]


def _own(config: RunConfig, name: str) -> str:
    """The field that sets a training setting of this run; after a warm start `train` is the FP32 trial's."""
    return f"train.fine_tune.{name}" if config.starts_warm else f"train.{name}"


def _around(name: str, where: tuple[str, ...], low: float, high: float, default: float, **more: Any) -> Dimension:
    """A fixed range, widened where the default lies outside; a default of 0 is the lower end."""
    return Dimension(name, where, min(low, default or low), max(high, default), max(low, default), **more)


def _quantised_method(config: RunConfig) -> MethodConfig | None:
    return None if config.quant.is_fp32 else config.method


def _p_max(config: RunConfig) -> Dimension | None:
    method = _quantised_method(config)
    if method is None or not method.protection.enabled:
        return None
    return _around("p_max", ("method.protection.p_max",), 0.02, 0.5, method.protection.p_max, log=False)


def _p_min(config: RunConfig) -> Dimension | None:
    method = _quantised_method(config)
    if method is None or not method.protection.enabled:
        return None
    p_max = method.protection.p_max
    share = method.protection.p_min / p_max if p_max else 0.0
    where = ("method.protection.p_min",)
    return Dimension("p_min", where, 0.0, 1.0, share, log=False, share_of="method.protection.p_max")


def _observed(
    config: RunConfig, name: str, low: float, high: float, applies: Callable[[Any], bool]
) -> Dimension | None:
    method = _quantised_method(config)
    if method is None:
        return None
    used = [observer for observer in OBSERVERS if applies(getattr(method, observer))]
    if not used:
        return None
    default = getattr(getattr(method, used[0]), name)
    return _around(name, tuple(f"method.{observer}.{name}" for observer in used), low, high, default)


def values_of(space: Sequence[Dimension], parameters: Mapping[str, float], config: RunConfig) -> dict[str, float]:
    """Field values for drawn parameters, to four digits, so that a preset can state them exactly."""
    values: dict[str, float] = {}
    for dimension in space:
        value = parameters[dimension.name]
        if dimension.share_of:
            value *= values.get(dimension.share_of, get(config, dimension.share_of))
        value = 0.0 if value < dimension.zero_below else float(f"{value:.4g}")
        values.update(dict.fromkeys(dimension.fields, value))
    return values


def get(config: Any, name: str) -> Any:
    """The value of a dotted field."""
    for part in name.split("."):
        config = config[part] if isinstance(config, dict) else getattr(config, part)
    return config


def with_values(config: Any, values: Mapping[str, Any]) -> Any:
    """A copy of a configuration with other values of some dotted fields; raises KeyError for an unknown field."""
    known = {field.name for field in fields(config)}
    changes: dict[str, Any] = {}
    for name, value in values.items():
        head, _, rest = name.partition(".")
        if head not in known:
            raise KeyError(name)
        part = changes.get(head, getattr(config, head))
        changes[head] = with_values(part, {rest: value}) if rest else value
    return replace(config, **changes)
