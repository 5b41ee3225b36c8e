"""Completion of GROUP=OPTION and FIELD=VALUE, from the presets' folders, the schema and loaded plug-ins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import attrgetter

from dqrun.composition.fields import list_fields
from dqrun.composition.groups import config_folders, list_groups
from dqrun.config.rules import shown
from dqrun.plugins import asked_for, load_plugins, typed_plugins


def override_candidates(overrides: Sequence[str], current: str, config_dir: str | None) -> list[str]:
    """The words that may follow `overrides` and begin with `current`.

    The value of a field comes from the composed line; raises ConfigError if the line does not compose.
    """
    load_plugins(asked_for(typed_plugins(overrides)))
    groups = list_groups(config_folders(config_dir))
    name, equals, _ = current.partition("=")
    if not equals:
        found = [*(f"{group}=" for group in groups), *_fields(name)]
    elif name in groups:
        found = [f"{name}={option}" for option in groups[name]]
    else:
        found = _value(overrides, name, config_dir)
    return [word for word in found if word.startswith(current)]


def _fields(typed: str) -> Iterator[str]:
    """The fields beside the typed one: `train.lr=` for a value, `train.schedule.` for a part."""
    parent = typed.rpartition(".")[0]
    for field in list_fields().values():
        if field.name.rpartition(".")[0] == parent and "*" not in field.name:
            yield f"{field.name}." if field.nested else f"{field.name}="


def _value(overrides: Sequence[str], name: str, config_dir: str | None) -> list[str]:
    """The field with its present value; [] for a part and an unknown field."""
    known = list_fields().get(name)
    if known is None or known.nested:
        return []
    from dqrun.composition.compose import load_configs  # imports Hydra, which only values need

    (config,) = load_configs(overrides, config_dir=config_dir)
    try:
        return [f"{name}={shown(attrgetter(name)(config))}"]
    except AttributeError:  # a field of a plug-in that is not chosen
        return []
