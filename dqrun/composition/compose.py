"""Converts the words of a command line to checked `RunConfig`s: Hydra composes, dqrun validates. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import hydra
import omegaconf
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override, Quote, QuotedString
from omegaconf import DictConfig, OmegaConf, open_dict

from dqrun.composition.errors import PACKAGED_MAIN, one_line_errors, unknown_field, unknown_method_field
from dqrun.composition.fields import Field, list_fields, owners
from dqrun.composition.groups import config_folders, list_groups
from dqrun.composition.overrides import Groups, check, parse, split_sweep
from dqrun.composition.preset_text import require_text
from dqrun.composition.swept_fields import engines_where_run, given_where_known
from dqrun.config import RunConfig, schema
from dqrun.config.ogb import ogb_metric, ogb_task
from dqrun.config.parts import PARTS, chosen_names, names_with_fields, node_of
from dqrun.config.pyg import pyg_name
from dqrun.config.tasks import is_node_task
from dqrun.errors import ConfigError
from dqrun.plugins import asked_for, load_plugins, typed_plugins
from dqrun.runs.protocol import canonical

MAIN = "run"
"""Name of the main configuration, `run.yaml`."""


@cache
def _register() -> None:
    """Registers with Hydra and OmegaConf the names that presets use: `schema` and `${below_8_bits:...}`."""
    ConfigStore.instance().store(name="schema", node=schema())
    renamed = not omegaconf.__version__.startswith("2.3.")  # in 2.3 the name belongs to an older function
    register: Any = OmegaConf.register_resolver if renamed else OmegaConf.register_new_resolver
    register("below_8_bits", _below_8_bits, replace=True)
    register("fanouts", _fanouts, replace=True)
    register("if_nodes", _if_nodes, replace=True)
    register("ogb_metric", ogb_metric, replace=True)
    register("ogb_task", ogb_task, replace=True)
    register("pyg_name", pyg_name, replace=True)


@dataclass(frozen=True)
class Session:
    """Hydra, ready to compose."""

    main: str
    """Name of the main configuration."""
    sources: tuple[str, ...]
    """Overrides that name the folders with presets after the first."""

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The composed configuration of one job, including Hydra's own part."""
        return hydra.compose(self.main, [*self.sources, *overrides], return_hydra_config=True)


@contextmanager
def hydra_session(folders: Sequence[Path]) -> Iterator[Session]:
    """Hydra, ready to compose from `folders` (an earlier one wins); its global state is cleared at the end."""
    _register()
    _store_plugins()
    first, *others = folders
    main = MAIN
    if not (first / f"{MAIN}.yaml").is_file():  # Hydra looks for it before further folders are added
        main = PACKAGED_MAIN
        ConfigStore.instance().store(name=main, node=OmegaConf.load(folders[-1] / f"{MAIN}.yaml"))
    named = ",".join(QuotedString(f"file://{folder}", Quote.single).with_quotes() for folder in others)
    version: dict[str, Any] = {"version_base": "1.3"} if hydra.__version__.startswith("1.3.") else {}
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(first), job_name="dqrun", **version):
            yield Session(main, (f"hydra.searchpath=[{named}]",) if others else ())
    finally:
        GlobalHydra.instance().clear()


def _store_plugins() -> None:
    """Adds the registered objects of plug-ins as options of the groups: `model=NAME` needs no YAML.

    The fields of NAME are also the preset `NAME_fields`, on which a YAML file NAME can be based.
    """
    store = ConfigStore.instance().store
    for part, name in names_with_fields():
        store(group=part, name=f"{name}_fields", node=node_of(part, name))
    for part, names in chosen_names().items():
        for name in names:
            store(group=part, name=name, node=node_of(part, name))


def _below_8_bits(bits: int | None, then: float, otherwise: float) -> float:
    """`${below_8_bits:BITS,THEN,ELSE}`: THEN for less than 8 bits, ELSE for 8 bits and FP32."""
    return then if bits is not None and bits < 8 else otherwise


def _fanouts(layers: int) -> list[int]:
    """`${fanouts:LAYERS}`: the default of `loader.fanouts`, a number per layer: 15, 10, then 5."""
    return [15, 10, *[5] * layers][:layers]


def _if_nodes(task: str, then: float, otherwise: float) -> float:
    """`${if_nodes:TASK,THEN,ELSE}`: for recipes that are used for node tasks (THEN) and for graph tasks (ELSE)."""
    return then if is_node_task(task) else otherwise


@dataclass(frozen=True)
class Job:
    """One configuration of a command line, with its overrides and the chosen option of each group."""

    overrides: list[str]
    choices: dict[str, str]
    """The option of each group, whoever chose it."""
    config: RunConfig
    left_out: tuple[str, ...] = ()
    """Of a sweep: a line for each field that is not given to jobs for which it means nothing."""


def load_configs(overrides: Sequence[str], *, multirun: bool = False, config_dir: str | None = None) -> list[RunConfig]:
    """The checked configurations of a command line's jobs; see `load_jobs`."""
    return [job.config for job in load_jobs(overrides, multirun=multirun, config_dir=config_dir)]


def load_jobs(overrides: Sequence[str], *, multirun: bool = False, config_dir: str | None = None) -> list[Job]:
    """The checked jobs of a command line.

    With `multirun`, the product of all lists of values: those on the command line and those of presets in
    `hydra.sweeper.params`. Raises ConfigError, in one line, for the first job that does not compose or breaks a rule:
    the whole sweep is checked before anything runs. A swept field applies to the jobs that have it (see
    `swept_fields`). Equal jobs are returned once (see `distinct`).
    """
    plugins = asked_for(typed_plugins(overrides))
    load_plugins(plugins)
    folders = config_folders(config_dir)
    groups = list_groups(folders)
    with one_line_errors(groups), hydra_session(folders) as session:
        words = parse(overrides, groups)
        if multirun:
            words = [*parse(_preset_sweep(session, words, groups), groups), *words]
        given, left_out = split_sweep(words, multirun), list[str]()
        if len(given) > 1:
            given, left_out = given_where_known(given, session, groups)
        loaded = [_load_job(session, job, groups, multirun, plugins) for job in given]
        if multirun:
            left_out += engines_where_run([job.config for job in loaded])
        for job in loaded:
            job.config.validate()
        jobs = distinct([replace(job, left_out=tuple(left_out)) for job in loaded])
    require_text(folders[:-1], {choice for job in jobs for choice in job.choices.items()})
    return jobs


def _preset_sweep(session: Session, overrides: Sequence[Override], groups: Groups) -> list[str]:
    """`hydra.sweeper.params` of the chosen presets as overrides, e.g. `["model=gin,gcn"]`.

    Fields choose no preset, and those of an option that is swept would not compose here.
    """
    fixed = [override for override in overrides if not override.is_sweep_override()]
    for override in fixed:
        check(override, groups)
    texts = [str(override.input_line) for override in fixed if override.key_or_group in groups]
    tree = session.compose(texts)
    return [f"{key}={values}" for key, values in (tree.hydra.sweeper.params or {}).items()]


def _load_job(session: Session, overrides: list[str], groups: Groups, multirun: bool, plugins: list[str]) -> Job:
    for override in parse(overrides, groups):
        check(override, groups)
    tree = session.compose(overrides)
    if tree.hydra.sweeper.params and not multirun:
        raise ConfigError("hydra.sweeper.params in a preset asks for a sweep: add -m")
    choices = {str(group): str(option) for group, option in tree.hydra.runtime.choices.items() if option is not None}
    with open_dict(tree):
        del tree["hydra"]
    if OmegaConf.get_type(tree) is not RunConfig:
        raise ConfigError(f"{MAIN}.yaml in --config-dir must begin its defaults list with `schema`")
    _refuse_unknown(tree, list_fields({part: OmegaConf.get_type(tree, part) for part in PARTS}))
    config = OmegaConf.to_object(tree)
    assert isinstance(config, RunConfig)
    if not set(config.plugins) <= set(plugins):
        rule = "be given on the command line or in DQRUN_PLUGINS, not by a preset"
        raise ConfigError.rule("plugins", rule, config.plugins)
    config.plugins = list(plugins)
    return Job(overrides, choices, config)


def _refuse_unknown(tree: DictConfig, known: Mapping[str, Field], prefix: str = "", shown: str = "") -> None:
    """Raises ConfigError for a field that is not in the schema: `+model.foo=1` would have no effect."""
    free_keys = any(name.startswith(f"{prefix}*.") for name in known)
    for key in map(str, tree):
        name = f"{prefix}*" if free_keys else f"{prefix}{key}"
        if not free_keys and name not in known and prefix == "method.":
            raise ConfigError(unknown_method_field(name, OmegaConf.get_type(tree) or RunConfig))
        if not free_keys and name not in known:
            if chosen_by := owners(f"{shown}{key}"):
                raise ConfigError(f"{shown}{key} is a field of {', '.join(chosen_by)} alone")
            raise ConfigError(unknown_field(f"{shown}{key}"))
        child = tree._get_node(key)
        if isinstance(child, DictConfig) and not (name in known and known[name].free):
            _refuse_unknown(child, known, f"{name}.", f"{shown}{key}.")


def distinct(jobs: Sequence[Job]) -> list[Job]:
    """The jobs without repetitions, keeping the first: all FP32 jobs are equal, whatever their method and plan."""
    first: dict[str, Job] = {}
    for job in jobs:
        first.setdefault(repr(canonical(job.config)), job)
    return list(first.values())
