"""What Hydra answers: the flags `--cfg`, `--info`, `--hydra-help`, and completion of groups and fields."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from hydra._internal.core_plugins.bash_completion import BashCompletion
from hydra._internal.hydra import Hydra
from hydra.core.config_loader import ConfigLoader
from hydra.types import RunMode
from omegaconf import OmegaConf

from dqrun.composition.compose import CONFIG_NAME, hydra_session
from dqrun.composition.errors import one_line_errors
from dqrun.composition.groups import INTERNAL_GROUPS, config_folders, list_groups
from dqrun.composition.overrides import check, parse, split_sweep
from dqrun.errors import ConfigError


def answer(flags: Namespace, parser: ArgumentParser) -> None:
    """Prints what `flags.cfg`, `flags.info` or `flags.hydra_help` asks for."""
    folders = config_folders(flags.config_dir)
    groups = list_groups(folders)
    shown = StringIO()  # printed at the end: no half output before an error, and a closed pipe is main's affair
    with hydra_session(folders) as session, one_line_errors(groups), redirect_stdout(shown):
        parsed = parse(flags.overrides, session.config_loader)
        (job,) = split_sweep(parsed, multirun=False)
        for override in parsed:
            if not override.is_hydra_override():  # these flags show Hydra's own part too
                check(override, groups)
        if flags.cfg:
            _show_config(session, job, flags)
        elif flags.info:
            session.show_info(flags.info, config_name=CONFIG_NAME, overrides=job)
        else:
            session.hydra_help(config_name=CONFIG_NAME, args_parser=parser, args=flags)
    print(shown.getvalue(), end="")


def _show_config(session: Hydra, job: list[str], flags: Namespace) -> None:
    if flags.package not in (None, "_global_"):
        tree = session.compose_config(CONFIG_NAME, job, RunMode.RUN, with_log_configuration=False)
        if OmegaConf.select(tree, flags.package) is None:
            raise ConfigError.rule("--package", "name a part of the configuration, e.g. train.schedule", flags.package)
    session.show_cfg(CONFIG_NAME, job, flags.cfg, flags.package, flags.resolve)


def installer(arguments: Sequence[str]) -> None:
    """Prints what `install=SHELL` or `uninstall=SHELL` asks for; raises ConfigError for anything else."""
    action, _, shell = arguments[0].partition("=") if len(arguments) == 1 else ("", "", "")
    with hydra_session(config_folders(None)) as session:
        plugins = session.get_shell_to_plugin_map(session.config_loader)
        if shell not in plugins or action not in ("install", "uninstall"):
            rule = f"be followed by install=SHELL or uninstall=SHELL, SHELL one of {', '.join(sorted(plugins))}"
            raise ConfigError.rule("-sc", rule, " ".join(arguments))
        getattr(plugins[shell][0], action)()


def override_candidates(overrides: Sequence[str], current: str, config_dir: str | None) -> list[str]:
    """The words that may follow `overrides` and begin with `current`, by Hydra.

    Raises ConfigError where a half-typed line does not compose.
    """
    with hydra_session(config_folders(config_dir)) as session, one_line_errors({}):
        loader: Any = _PublicOptions(session.config_loader)
        return BashCompletion(loader)._query(CONFIG_NAME, " ".join([*overrides, current]))


class _PublicOptions:
    """A config loader that does not offer internal groups; all else is the wrapped loader's."""

    def __init__(self, loader: ConfigLoader) -> None:
        self._loader = loader

    def get_group_options(self, group_name: str, *args: Any, **kwargs: Any) -> list[str]:
        options = self._loader.get_group_options(group_name, *args, **kwargs)
        if group_name.split("/")[0] in INTERNAL_GROUPS:
            return []
        return [option for option in options if group_name or option not in INTERNAL_GROUPS]

    def load_configuration(self, *args: Any, **kwargs: Any) -> Any:
        """The composed configuration without Hydra's own part, whose fields dqrun refuses."""
        tree = self._loader.load_configuration(*args, **kwargs)
        return OmegaConf.masked_copy(tree, [str(key) for key in tree if key != "hydra"])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)
