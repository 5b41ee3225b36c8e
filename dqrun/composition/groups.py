"""The folders of YAML presets, and their groups and options. Reads only folder listings: fast, without Hydra."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dqrun.config.parts import chosen_names
from dqrun.errors import ConfigError
from dqrun.paths import user_path

PUBLIC_GROUPS = (
    "dataset",
    "model",
    "quant",
    "method",
    "plan",
    "protocol",
    "train",
    "loader",
    "launcher",
    "experiment",
    "recipe",
)
"""The groups in the order in which help and documentation show them; a user's own groups follow."""

OPTIONAL_GROUPS = ("experiment", "recipe")
"""Groups of which a run may have no option: `recipe` follows from dataset and model where there is one for both."""

INTERNAL_GROUPS = ("hydra",)
"""Folders that composition needs and nobody types."""


def config_folder() -> Path:
    """The presets' folder: `dqrun/configs` inside a wheel, `configs` beside the package in a checkout."""
    package = Path(__file__).parents[1]
    packaged = package / "configs"
    return packaged if packaged.is_dir() else package.parent / "configs"


def config_folders(config_dir: str | None) -> list[Path]:
    """The folders with presets, the user's own first; raises ConfigError if that is no folder."""
    if config_dir is None:
        return [config_folder()]
    folder = user_path(config_dir).absolute()
    if not folder.is_dir():
        raise ConfigError.rule("--config-dir", "be an existing folder", config_dir)
    return [folder, config_folder()]


def list_groups(folders: Iterable[Path]) -> dict[str, list[str]]:
    """Options of each group over all `folders`, sorted, e.g. `{"model": ["gat", "gcn", "gin"], ...}`.

    Objects that plug-ins have registered so far are options too.
    An option in a subfolder is named with a slash, as Hydra does: `dataset/mine/small.yaml` is `mine/small`.
    """
    found = {group: set(names) for group, names in chosen_names().items() if names}
    for folder in folders:
        for file in folder.glob("*/**/*.yaml"):
            group, *option = file.relative_to(folder).with_suffix("").parts
            if group not in INTERNAL_GROUPS:
                found.setdefault(group, set()).add("/".join(option))
    order = [group for group in PUBLIC_GROUPS if group in found] + sorted(found.keys() - set(PUBLIC_GROUPS))
    return {group: sorted(found[group]) for group in order}
