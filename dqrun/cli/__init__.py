"""`dqrun [GROUP=OPTION ...] [FIELD=VALUE ...]` trains; `dqrun VERB` runs another command. See `dqrun --help`.

torch is imported only after the check of the command line, so that errors and help are fast.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from dqrun import __version__
from dqrun.cli.verbs import MAIN_INTERRUPTED, VERBS
from dqrun.composition.arguments import LineParser
from dqrun.errors import ConfigError, DqrunError, printable, suggestion
from dqrun.process.interrupts import exit_code, listening
from dqrun.process.streams import forget, standard_streams
from dqrun.process.verbosity import add_verbose, log_shown
from dqrun.process.waiting import let_threads_sleep

_LONGEST = 2000
"""Maximal number of characters of an error, which may contain a word of any length."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line (default: this process's) and returns its exit code.

    0: done; 1: a trial failed; 2: the command line, a configuration, data or the output are wrong, with one line on
    stderr; 130: interrupted; 143: ended by SIGTERM, which is handled like Ctrl-C.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    let_threads_sleep()
    with standard_streams(), log_shown():
        try:
            with listening():
                code = _dispatch(arguments)
                sys.stdout.flush()
                return code
        except DqrunError as error:
            return _told(str(error), error.exit_code)
        except KeyboardInterrupt as error:
            verb = VERBS.get(arguments[0]) if arguments else None
            said = ["interrupted", *getattr(error, "__notes__", []), verb.interrupted if verb else MAIN_INTERRUPTED]
            return _told("; ".join(said), exit_code(error))
        except BrokenPipeError:  # before OSError, its base class: the reader ended, as in `dqrun --help | head -1`
            forget(sys.stdout)
            return 1
        except OSError as error:  # a path of the user: too long, no permission, a loop of links
            return _told(printable(f"{error.filename or 'the system'}: {error.strerror or error}"), 2)


def _told(text: str, code: int) -> int:
    shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    print(f"dqrun: {shown}", file=sys.stderr)
    return code


def _dispatch(arguments: list[str]) -> int:
    if arguments and arguments[0] in VERBS:
        verb, words = VERBS[arguments[0]], arguments[1:]
        return verb.load().main(_without_plugins(words) if verb.takes_plugins else words)
    parser = build_parser()
    flags = parser.parse_intermixed_args(arguments)
    _check_flags(flags)
    if flags.version:
        print(f"dqrun {__version__}")
    elif flags.help:
        _print_help(flags)
    elif flags.shell_completion:
        from dqrun.cli.completion import complete

        complete(flags.overrides, parser)
    elif flags.cfg or flags.info or flags.hydra_help:
        from dqrun.cli.hydra_flags import answer

        answer(flags, parser)
    else:
        return _train(flags)
    return 0


def _without_plugins(words: list[str]) -> list[str]:
    """Imports the plug-ins of `plugins=[...]` and returns the other words, so that the verb can read runs with them."""
    from dqrun.plugins import asked_for, load_plugins, typed_plugins

    load_plugins(asked_for(typed_plugins(words)))
    return [word for word in words if not word.startswith("plugins=")]


def _train(flags: argparse.Namespace) -> int:
    from dqrun.composition.compose import load_jobs
    from dqrun.composition.groups import config_folders, list_groups
    from dqrun.composition.recipes import advice_on

    jobs = load_jobs(flags.overrides, multirun=flags.multirun, config_dir=flags.config_dir)
    groups = list_groups(config_folders(flags.config_dir))
    from dqrun.sweep.run import run_all  # imports torch: only now that the command line is right

    return run_all([job.config for job in jobs], quiet=flags.quiet, advice=advice_on(jobs, groups))


def _print_help(flags: argparse.Namespace) -> None:
    from dqrun.cli.help import help_text
    from dqrun.composition.groups import config_folders
    from dqrun.plugins import asked_for, load_plugins, typed_plugins

    load_plugins(asked_for(typed_plugins(flags.overrides)))
    print(help_text(config_folders(flags.config_dir), {name: verb.meaning for name, verb in VERBS.items()}), end="")


class _Parser(LineParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; dqrun --help lists the flags")


def build_parser() -> argparse.ArgumentParser:
    """The parser of training's command line; all words except flags are overrides."""
    parser = _Parser(prog="dqrun", add_help=False, allow_abbrev=False)
    parser.add_argument("overrides", nargs="*", help="GROUP=OPTION or FIELD=VALUE")
    parser.add_argument("-m", "--multirun", action="store_true", help="run every combination of the values")
    parser.add_argument("-q", "--quiet", action="store_true", help="errors only")
    add_verbose(parser)
    parser.add_argument("--config-dir", metavar="DIR", help="a folder with groups of your own")
    parser.add_argument("-c", "--cfg", choices=["job", "hydra", "all"], help="show the configuration")
    parser.add_argument("--resolve", action="store_true", help="with --cfg: interpolations replaced by their values")
    parser.add_argument("-p", "--package", metavar="PART", help="with --cfg: only this part")
    infos = ["all", "config", "defaults", "defaults-tree", "plugins", "searchpath"]
    parser.add_argument("-i", "--info", nargs="?", const="all", choices=infos, help="how the configuration came about")
    parser.add_argument("-sc", "--shell-completion", action="store_true", help="install=bash, query=bash, ...")
    parser.add_argument("-h", "--help", action="store_true", help="dqrun's help")
    parser.add_argument("--hydra-help", action="store_true", help="Hydra's help")
    parser.add_argument("--version", action="store_true", help="dqrun's version")
    for flag in ("--config-path", "--config-name"):
        short = "-c" + flag.removeprefix("--config-")[0]
        parser.add_argument(short, flag, dest=flag, help="not supported: --config-dir adds configs")
    return parser


def _check_flags(flags: argparse.Namespace) -> None:
    for flag in ("--config-path", "--config-name"):
        if getattr(flags, flag) is not None:
            raise ConfigError(f"{flag} is not supported: --config-dir adds a folder with groups of your own")
    if not flags.cfg and (flags.resolve or flags.package):
        raise ConfigError("--resolve and --package go with --cfg")
    modes = {"--cfg": flags.cfg, "--info": flags.info, "--hydra-help": flags.hydra_help, "-m": flags.multirun}
    given = [name for name, value in modes.items() if value]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} do not go together")
    if not flags.shell_completion and flags.overrides and "=" not in (word := flags.overrides[0]) and word[:1] != "~":
        raise ConfigError(f"{word!r} is neither a verb nor key=value{suggestion(word, VERBS)}")
