"""Checks a user's presets: the value of a text field must not be a number, because YAML reads `0.10` as 0.1."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dqrun.composition.fields import list_fields, schema_name
from dqrun.errors import ConfigError


def require_text(folders: Sequence[Path], choices: Iterable[tuple[str, str]]) -> None:
    """Raises ConfigError if a preset in one of the user's `folders` has a number for a text field.

    `choices`: the chosen options, as (group, option).
    """
    files = [Path("run.yaml"), *(Path(group) / f"{option}.yaml" for group, option in sorted(choices))]
    for path in (folder / file for folder in folders for file in files):
        if not path.is_file():
            continue
        tree = OmegaConf.load(path)
        if not isinstance(tree, DictConfig):
            continue
        for name, value in _numbers(OmegaConf.to_container(tree), _package(path, folders)):
            field = list_fields().get(schema_name(name))
            if field is not None and field.quoting.startswith("text"):
                raise ConfigError(f"{name} must be text, got the number {value} in {path}: write it in quotes there")


def _package(path: Path, folders: Sequence[Path]) -> str:
    """The part of the configuration that a preset file describes, as a prefix of its fields."""
    header = re.match(r"#\s*@package\s+(\S+)", path.read_text(encoding="utf-8"))
    (group,) = [path.relative_to(folder).parent for folder in folders if path.is_relative_to(folder)]
    package = header[1] if header else ".".join(group.parts) or "_global_"
    return "" if package == "_global_" else f"{package}."


def _numbers(tree: Any, prefix: str) -> Iterator[tuple[str, object]]:
    """Every number and truth value of a tree, with its dotted name."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{prefix}{key}.")
        elif isinstance(value, bool | int | float):
            yield f"{prefix}{key}", value
