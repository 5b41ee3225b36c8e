"""The flags that call Hydra: `--cfg`, `--info`, `--hydra-help`, and the installation of completion."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.plugins.completion_plugin import CompletionPlugin
from omegaconf import Container, DictConfig, OmegaConf, open_dict

from dqrun.composition.compose import Session, hydra_session
from dqrun.composition.errors import one_line_errors
from dqrun.composition.groups import config_folders, list_groups
from dqrun.composition.overrides import check, parse, split_sweep
from dqrun.errors import ConfigError
from dqrun.plugins import asked_for, load_plugins, typed_plugins


def answer(flags: Namespace, parser: ArgumentParser) -> None:
    """Prints the answer to `flags.cfg`, `flags.info` or `flags.hydra_help`; raises ConfigError for a wrong line."""
    load_plugins(asked_for(typed_plugins(flags.overrides)))
    folders = config_folders(flags.config_dir)
    groups = list_groups(folders)
    shown = StringIO()  # printed at the end: no partial output before an error, and `main` handles a closed pipe
    with hydra_session(folders) as session, one_line_errors(groups), redirect_stdout(shown):
        parsed = parse(flags.overrides, groups)
        (job,) = split_sweep(parsed, multirun=False)
        for override in parsed:
            if not override.is_hydra_override():  # these flags show Hydra's own part too
                check(override, groups)
        inside = GlobalHydra.instance().hydra
        assert inside is not None
        if flags.cfg:
            print(_config_text(session, job, flags), end="")
        elif flags.info:
            inside.show_info(flags.info, config_name=session.main, overrides=[*session.sources, *job])
        else:
            inside.hydra_help(config_name=session.main, args_parser=parser, args=flags)
    print(shown.getvalue(), end="")


def _config_text(session: Session, job: list[str], flags: Namespace) -> str:
    """The composed configuration, or the part of it that `--package` names, as YAML."""
    tree = session.compose(job)
    HydraConfig.instance().set_config(tree)  # `${hydra:...}` refers to it
    OmegaConf.set_readonly(tree.hydra, None)
    shown: Container | None = _asked(tree, flags.cfg)
    head = ""
    if flags.package not in (None, "_global_"):
        shown = OmegaConf.select(tree, flags.package)
        head = f"# @package {flags.package}\n"
    if shown is None:
        raise ConfigError.rule("--package", "name a part of the configuration, e.g. train.schedule", flags.package)
    if not isinstance(shown, Container):
        return f"{shown}\n"
    return head + OmegaConf.to_yaml(shown, resolve=flags.resolve)


def _asked(tree: DictConfig, what: str) -> DictConfig:
    """The whole tree (all), dqrun's part (job) or Hydra's; interpolations still refer to the whole tree."""
    with open_dict(tree):
        names = [str(name) for name in tree if what == "all" or (name == "hydra") == (what == "hydra")]
        return OmegaConf.masked_copy(tree, names)


def installer(arguments: Sequence[str]) -> None:
    """Prints the shell code of `install=SHELL` or `uninstall=SHELL`; raises ConfigError for anything else."""
    action, _, shell = arguments[0].partition("=") if len(arguments) == 1 else ("", "", "")
    with hydra_session(config_folders(None)):
        loader = GlobalHydra.instance().config_loader()
        kinds: list[Any] = list(Plugins.instance().discover(CompletionPlugin))
        plugins = {made.provides(): made for made in (kind(loader) for kind in kinds)}
        if shell not in plugins or action not in ("install", "uninstall"):
            rule = f"be followed by install=SHELL or uninstall=SHELL, SHELL one of {', '.join(sorted(plugins))}"
            raise ConfigError.rule("-sc", rule, " ".join(arguments))
        getattr(plugins[shell], action)()
