"""The best settings of a search as an `experiment/` preset that reproduces its best trial."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from dqrun.composition.compose import Job, load_configs
from dqrun.data.fingerprint import fingerprint
from dqrun.durable import clear_parts, write_text
from dqrun.errors import ConfigError, DqrunError, ResultsError
from dqrun.runs.protocol import INCIDENTAL, cell_hash, trials
from dqrun.runs.provenance import git_revision, versions
from dqrun.tune.space import get, stated
from dqrun.tune.study import Search, Tried

STATED = ("dataset", "model", "quant", "method", "plan")
"""Groups whose options a preset always names, even if they are the present defaults."""


def write_preset(search: Search, best: Tried, folder: Path, command: list[str]) -> Path:
    """Writes `FOLDER/experiment/STUDY.yaml` and checks that it composes to the best trial's configuration.

    The caller holds the search's lock. Raises ResultsError if the file can't be written or read back, DqrunError if
    it composes to another configuration.
    """
    path = folder / "experiment" / f"{search.name}.yaml"
    tree: dict[str, Any] = {"defaults": _defaults(search.job)}
    chosen = search.config_of(best.number)
    found = {stated(name): get(chosen, stated(name)) for name in best.values}
    for name, value in {**_typed(search.job), **found}.items():
        _put(tree, name.split("."), value)
    text = f"# @package _global_\n{_provenance(search, best, command)}{OmegaConf.to_yaml(tree)}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        clear_parts(path)
        write_text(path, text)
    except OSError as error:
        raise ResultsError(f"could not write {path}: {error.strerror}") from None
    try:
        (config,) = load_configs([f"experiment={search.name}"], config_dir=str(folder))
    except ConfigError as error:  # also if the file system does not yet show the new file
        raise ResultsError(f"{path} could not be read back: {error}") from None
    mark = fingerprint(config.dataset)
    wanted = search.config_of(best.number)
    if cell_hash(config, mark) != cell_hash(wanted, mark) or trials(config.protocol) != trials(wanted.protocol):
        raise DqrunError(f"{path} does not compose to the best trial: a group or override of the search is not in it")
    return path


def _defaults(job: Job) -> list[Any]:
    typed = {word.partition("=")[0].lstrip("+") for word in job.overrides}
    groups = [group for group in job.choices if group in STATED or group in typed]
    base: list[Any] = [job.choices["experiment"]] if "experiment" in job.choices else []
    chosen = [group for group in groups if group != "experiment" and group not in INCIDENTAL]
    return base + [{f"override /{group}": job.choices[group]} for group in chosen]


def _typed(job: Job) -> dict[str, Any]:
    """The fields that the command line set, except those without effect on results."""
    names = [word.partition("=")[0].lstrip("+") for word in job.overrides]
    wanted = [name for name in names if name not in job.choices and name.split(".")[0] not in INCIDENTAL]
    tree = OmegaConf.to_container(OmegaConf.structured(job.config))
    return {name: get(tree, name) for name in wanted}


def _put(tree: dict[str, Any], parts: list[str], value: Any) -> None:
    for part in parts[:-1]:
        tree = tree.setdefault(part, {})
    tree[parts[-1]] = value


def _provenance(search: Search, best: Tried, command: list[str]) -> str:
    tried = search.tried()
    metric, default = search.objective, tried[0].value
    known = versions()
    count = len(trials(search.config.protocol))
    lines = [
        f"The best of {len(tried)} settings by validation {metric}: {best.value:.6g}, mean of {count} trials"
        f" (the default: {'failed' if default is None else f'{default:.6g}'}). Test data was not read.",
        f"Found by: dqrun tune {shlex.join(command)}",
        f"Study {search.name} in {search.rounds.folder}, trial {best.number}; {datetime.now(UTC):%Y-%m-%d}.",
        f"Searched: {'; '.join(dimension.describe() for dimension in search.space)}.",
        f"dqrun {known['dqrun_version']} {git_revision()}, torch {known['torch_version']}, PyG {known['pyg_version']}.",
    ]
    return "".join(f"# {line}\n" for line in lines)
