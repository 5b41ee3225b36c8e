"""Shell completion: verbs, their flags, the names of runs, groups, options and fields.

`eval "$(dqrun -sc install=bash)"` lets the shell call `dqrun -sc query=bash` with the typed line in `COMP_LINE`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from dqrun.cli.verbs import VERBS, Verb
from dqrun.errors import DqrunError
from dqrun.paths import user_path

SHELLS = ("bash", "fish", "zsh")


def complete(arguments: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Answers `install=SHELL`, `uninstall=SHELL` or `query=SHELL`; `parser` has the flags of the main job.

    Raises ConfigError for other arguments.
    """
    if len(arguments) == 1 and arguments[0] in {f"query={shell}" for shell in SHELLS} and "COMP_LINE" in os.environ:
        found = candidates(os.environ["COMP_LINE"], parser)
        if found:
            print(*found, sep="\n")
        return
    from dqrun.cli.hydra_flags import installer

    installer(arguments)


def candidates(line: str, parser: argparse.ArgumentParser) -> list[str]:
    """Candidates for the last word of a typed line, sorted."""
    words = line.split()[1:]
    current = "" if not words or line[-1:].isspace() else words.pop()
    if words and words[0] in VERBS:
        found = _of_verb(VERBS[words[0]], words[1:], current)
    elif current.startswith("-"):
        found = _flags(parser, current)
    else:
        found = [*_overrides(words, current), *(() if words else VERBS)]
    return sorted({word for word in found if word.startswith(current)})


def _of_verb(verb: Verb, words: Sequence[str], current: str) -> list[str]:
    parser = verb.load().build_parser()
    if current.startswith("-"):
        return _flags(parser, current)
    options = {flag: action for action in parser._actions for flag in action.option_strings}
    before = options.get(words[-1]) if words else None
    if before is not None and before.nargs != 0:
        return list(before.choices or ())  # without choices the shell offers files
    found = [str(choice) for action in _positionals(parser) for choice in action.choices or ()]
    if verb.takes_runs:
        found += run_names(user_path(_option(words, "--results") or "results"))
    if verb.takes_overrides:
        found += _overrides(words, current)
    return found


def _flags(parser: argparse.ArgumentParser, current: str) -> list[str]:
    """The long flags; if only `-` is typed, also the short ones."""
    flags = [flag for action in parser._actions for flag in action.option_strings]
    return [flag for flag in flags if flag.startswith("--") or current == "-"]


def _positionals(parser: argparse.ArgumentParser) -> Iterable[argparse.Action]:
    return (action for action in parser._actions if not action.option_strings)


def _option(words: Sequence[str], flag: str) -> str | None:
    """The word after a flag among the typed words, or None."""
    return next((value for word, value in pairwise(words) if word == flag), None)


def run_names(results: Path) -> list[str]:
    """Names of the run folders of a results folder; empty if it cannot be read."""
    try:
        return sorted(entry.name for entry in os.scandir(results / "runs") if not entry.name.startswith("."))
    except OSError:
        return []


def _overrides(words: Sequence[str], current: str) -> list[str]:
    """Groups, options and fields; none for a line that does not compose: running it will report the error."""
    from dqrun.cli.candidates import override_candidates

    overrides = [word for word in words if word[0] != "-" and ("=" in word or word[0] == "~")]
    try:
        return override_candidates(overrides, current, _option(words, "--config-dir"))
    except DqrunError:
        return []
