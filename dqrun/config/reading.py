"""From plain dictionaries, as run folders, model files and studies hold them, to checked types: `config_from`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from dqrun import register
from dqrun.config.parts import PARTS, Part, part_type
from dqrun.config.run import RunConfig
from dqrun.errors import DataError, printable

if TYPE_CHECKING:
    from omegaconf import DictConfig


class PluginNeeded(DataError):
    """A stored configuration names something that no loaded plug-in has registered."""


@cache
def _schema(**parts: type) -> DictConfig:
    """The typed tree of a run with parts of these classes; making one takes longer than a merge, which leaves it."""
    from omegaconf import OmegaConf  # here: programs run without it

    tree: DictConfig = OmegaConf.structured(RunConfig)
    for name, part in parts.items():
        tree[name] = OmegaConf.structured(part)
    return tree


def config_from(tree: Mapping[str, Any]) -> RunConfig:
    """The configuration that a tree of plain values states, with the fields of the plug-ins that it names.

    Only types are checked, and no code is loaded. Raises OmegaConfBaseException for another type or an unknown field,
    PluginNeeded where a plug-in is not loaded.
    """
    from omegaconf import OmegaConf

    parts: dict[str, type] = {}
    for name, part in PARTS.items():
        values = tree.get(name)
        chosen = values.get(part.chooser) if isinstance(values, Mapping) else None
        if isinstance(chosen, str):
            _require_known(part, chosen, tree.get("plugins"))
            parts[name] = part_type(name, chosen)
    _require_quantizer(tree)
    changed = {name: made for name, made in parts.items() if made is not PARTS[name].base}
    config = OmegaConf.to_object(OmegaConf.merge(_schema(**changed), tree))
    assert isinstance(config, RunConfig)
    return config


def _require_quantizer(tree: Mapping[str, Any]) -> None:
    quant = tree.get("quant")
    name = quant.get("quantizer") if isinstance(quant, Mapping) else None
    if isinstance(name, str) and name not in register.quantizer:
        _refuse(register.quantizer.field, name, tree.get("plugins"))


def _refuse(field: str, name: str, plugins: object) -> None:
    """Names the plug-ins that a configuration says to have it from; an installed one stands in no configuration."""
    if isinstance(plugins, list) and plugins:
        raise PluginNeeded(f"{field}={name} comes from a plug-in: give plugins=[{','.join(map(str, plugins))}] again")
    raise PluginNeeded(f"{field}={printable(name)} is of no plug-in that is installed here, nor of dqrun")


def _require_known(part: Part, name: str, plugins: object) -> None:
    """A name that is not known comes from a plug-in."""
    if name != part.absent and part.kind_of(name) is None:
        _refuse(part.kinds[-1].field, name, plugins)
