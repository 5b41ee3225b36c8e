"""Finds the presets whose names are in a configuration, and the fields in which it differs from them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import yaml

from dqrun.analysis.study import flat
from dqrun.composition.compose import load_configs
from dqrun.composition.groups import config_folder, list_groups
from dqrun.errors import ConfigError

NAMED = ("dataset", "model", "method", "plan")
"""Groups whose options are identified by the field `name`."""

WHICH_DATA = ("name", "path", "task")
"""Fields that identify a dataset if one option serves many datasets, e.g. `folder`."""

HIDDEN = ("results", "data", "tags", "notes", "rerun", "launcher", "jobs", "track")
"""Parts about the execution of a run, which have no effect on its results."""


@dataclass(frozen=True)
class Nearest:
    """`words`: the options, e.g. `dataset=cora`; `differing`: field -> (its value, the value by these options)."""

    words: list[str]
    differing: dict[str, tuple[Any, Any]]


def nearest_presets(tree: dict[str, Any]) -> Nearest:
    """The options whose names are in a configuration, which is given as plain dictionaries, and its other settings."""
    words = [f"{group}={option}" for group in NAMED if (option := _option(group, tree.get(group)))]
    words += _of_which_data(tree.get("dataset"))
    words.append(f"quant={_quant(tree.get('quant'))}")
    own = flat(tree)
    try:
        (config,) = load_configs(words)
    except ConfigError:  # a configuration of another version, whose options no longer exist
        return Nearest(words, {name: (value, None) for name, value in own.items()})
    preset = flat(asdict(config))
    differing = {
        name: (own.get(name), preset.get(name))
        for name in dict.fromkeys([*preset, *own])
        if name.split(".")[0] not in HIDDEN and own.get(name) != preset.get(name)
    }
    return Nearest(words, differing)


def _option(group: str, part: Any) -> str | None:
    """The option whose preset has the part's name, else the one named as its source (tu, folder), else None."""
    if not isinstance(part, dict):
        return None
    presets, name, source = _presets(group), part.get("name"), part.get("source")
    named = (option for option, preset in presets.items() if name is not None and preset.get("name") == name)
    return next(named, source if source in presets else None)


def _of_which_data(part: Any) -> list[str]:
    """The words after an option that serves many datasets, e.g. `dataset.path=DIR` after `dataset=folder`."""
    if not isinstance(part, dict):
        return []
    preset = _presets("dataset").get(_option("dataset", part) or "", {})
    fields = [name for name in WHICH_DATA if part.get(name) not in (None, preset.get(name))]
    return [f"dataset.{name}={part[name]}" for name in fields]


def _quant(part: Any) -> str:
    """The option with the same widths, else the one with the same activations, else the default."""
    presets = _presets("quant")
    bits = {name: part.get(name) if isinstance(part, dict) else None for name in ("weight_bits", "activation_bits")}
    if bits["weight_bits"] is None and bits["activation_bits"] is None:
        return "fp32"
    label = f"int{bits['activation_bits']}"
    mixed = f"w{bits['weight_bits']}a{bits['activation_bits']}"
    return next((option for option in (mixed, label, "int8") if option in presets), "int8")


@cache
def _presets(group: str) -> dict[str, dict[str, Any]]:
    folder = config_folder()
    options = list_groups([folder]).get(group, [])
    return {option: _read(group, option) for option in options}


def _read(group: str, option: str) -> dict[str, Any]:
    tree = yaml.safe_load((config_folder() / group / f"{option}.yaml").read_text(encoding="utf-8"))
    part = tree.get(group, tree) if isinstance(tree, dict) else {}  # some presets set fields of the whole configuration
    return part if isinstance(part, dict) else {}
