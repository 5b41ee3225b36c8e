"""Checks the words of a command line before anything is composed, and splits a sweep into jobs.

Hydra's grammar and sweeper do the parsing. The checks are for errors that Hydra reports in many lines or ignores.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from dqrun.composition.fields import DICTIONARIES
from dqrun.composition.groups import OPTIONAL_GROUPS
from dqrun.composition.quoting import quoted
from dqrun.errors import ConfigError, suggestion

Groups = Mapping[str, Sequence[str]]


class _Options:
    """The options of groups, for Hydra's `glob(...)`: all that its parser asks a config loader for."""

    def __init__(self, groups: Groups) -> None:
        self._groups = groups

    def get_group_options(self, group_name: str, *args: Any, **kwargs: Any) -> list[str]:
        return list(self._groups.get(group_name, ()))


def parse(texts: Sequence[str], groups: Groups) -> list[Override]:
    """The overrides in `texts`, text fields as they were typed; ConfigError with the first that is not `key=value`."""
    options: Any = _Options(groups)
    parser = OverridesParser.create(config_loader=options)
    return [_parse_one(parser, text, groups) for text in texts]


def _parse_one(parser: OverridesParser, text: str, groups: Groups) -> Override:
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ConfigError(f"override {text!r} must be text in the encoding of the terminal")
    words = quoted(text)
    try:
        (override,) = parser.parse_overrides([words])
    except HydraException as error:
        if "=" not in text and not text.startswith("~"):
            group = next((group for group, options in groups.items() if text in options), "")
            hint = f"; did you mean '{group}={text}'?" if group else ""
            rule = f"override {text!r} is not of the form key=value, GROUP=OPTION or FIELD=VALUE"
            raise ConfigError(f"{rule}{hint}") from None
        reason = str(error).removeprefix(f"Error parsing override '{words}'\n").splitlines()[0]
        raise ConfigError(f"override {text!r} is not of the form key=value that Hydra reads: {reason}") from error
    if not override.key_or_group:
        raise ConfigError(f"override {text!r} names no field")
    return override


def split_sweep(overrides: Sequence[Override], multirun: bool) -> list[list[str]]:
    """The override strings of each job of a sweep, the last key varying fastest; without `multirun` one job.

    Raises ConfigError for several values without `multirun`, and for an interval, which no grid can try.
    """
    if not multirun:
        for override in overrides:
            if override.is_sweep_override():
                raise ConfigError(f"{override.input_line} gives several values: add -m to run each of them")
        return [[str(override.input_line) for override in overrides]]
    for override in overrides:
        if override.is_sweep_override() and not override.is_discrete_sweep():
            raise ConfigError(f"{override.input_line} is no list of values: use a,b,c or range(...) or choice(...)")
    return [list(job) for job in itertools.product(*map(_values, overrides))]


def _values(override: Override) -> list[str]:
    """An override once for each of its values."""
    key = override.get_key_element()
    if override.is_sweep_override():
        return [f"{key}={value}" for value in override.sweep_string_iterator()]
    return [f"{key}={override.get_value_element_as_str()}"]


def check(override: Override, groups: Groups) -> None:
    """Raises ConfigError for an override of one job that Hydra would ignore or explain badly."""
    key = str(override.key_or_group)
    top = key.split("/")[0].split(".")[0]
    if top == "hydra":
        raise ConfigError(f"{key} has no effect in dqrun: results.dir names the folder of results, -m sweeps")
    for part in DICTIONARIES:
        if key.startswith(f"{part}.") and override.is_add():
            raise ConfigError(f"{key} is no whole entry of {part}: write '+{part}={{NAME: {{FIELD: VALUE}}}}'")
    if key in groups:
        _check_group(key, override, groups[key])


def _check_group(key: str, override: Override, options: Sequence[str]) -> None:
    optional = key in OPTIONAL_GROUPS
    if override.is_delete():
        if not optional:
            raise ConfigError(f"{key} must not be removed: a run needs one of {', '.join(options)}")
        return
    if override.is_add() or override.is_force_add():
        raise ConfigError(f"{key} is part of every run: write {key}={override.get_value_element_as_str()} without '+'")
    value = override.value()
    if value is None and key == "recipe":  # Hydra has no other syntax for it
        raise ConfigError("recipe=null removes nothing: write '~recipe' for no recipe")
    if isinstance(value, dict) or (optional and (value is None or isinstance(value, list))):
        return
    text = override.get_value_element_as_str()
    if not isinstance(value, str) or text.strip("'\"") not in options:
        raise unknown_option(key, text, options)


def unknown_option(group: str, option: str, options: Sequence[str]) -> ConfigError:
    """The one wording for an option that a group lacks: its options, and the nearest."""
    rule = ConfigError.rule(group, f"be one of {', '.join(options)}", option)
    return ConfigError(f"{rule}{suggestion(option, options)}")
