"""Fills blocks of Markdown pages with tables: `python benchmarks/pages.py docs/measurements/reproduction.md README.md`.

A block is the output of a command, run from the root of the checkout, between these two lines:

    <!-- $ dqrun compare results/published/citation --format markdown -->
    <!-- end -->
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from dqrun.analysis import compare, leaderboard
from dqrun.errors import ConfigError, DqrunError

ROOT = Path(__file__).resolve().parents[1]
VERBS = {"compare": compare.main, "leaderboard": leaderboard.main}
OPENING = "<!-- $ "
BLOCK = re.compile(r"^<!-- \$ (?P<command>[^\n]+) -->\n(?:(?!^<!-- \$ ).)*?^<!-- end -->$", re.DOTALL | re.MULTILINE)


def filled(text: str) -> str:
    """The page with new output in each block; raises DqrunError if a command fails or a block has no end."""
    page, count = BLOCK.subn(lambda match: block(match["command"]), text)
    openings = len(re.findall(f"^{re.escape(OPENING)}", text, re.MULTILINE))
    if count != openings:
        raise ConfigError(f"{openings} blocks begin with '{OPENING}...', and {count} of them have an end")
    return page


def block(command: str) -> str:
    """The block of a command with its two lines; output that is not Markdown is fenced."""
    words = shlex.split(command)
    shown = output(words)
    if "markdown" not in words and "--format=markdown" not in words:
        shown = f"```\n{shown}\n```"
    return f"{OPENING}{command} -->\n\n{shown}\n\n<!-- end -->"


def output(words: Sequence[str]) -> str:
    """The standard output of a command of VERBS; raises ConfigError for other commands and for `-o`."""
    if words[0] != "dqrun" or words[1] not in VERBS:
        raise ConfigError.rule("the command of a block", f"be dqrun {' or '.join(VERBS)}", shlex.join(words))
    if any(word.startswith(("-o", "--output")) for word in words):
        raise ConfigError.rule("the command of a block", "write no file", shlex.join(words))
    shown = io.StringIO()
    with contextlib.chdir(ROOT), contextlib.redirect_stdout(shown):
        VERBS[words[1]](words[2:])
    return shown.getvalue().rstrip()


def main(argv: Sequence[str] | None = None) -> int:
    """Fills the pages in place; returns the exit code: 2 after an error."""
    parser = argparse.ArgumentParser(description="fills blocks of Markdown pages with tables of dqrun")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.md")
    for file in parser.parse_args(argv).files:
        try:
            old = file.read_text(encoding="utf-8")
            new = filled(old)
        except (OSError, DqrunError) as error:
            print(f"{file}: {error}", file=sys.stderr)
            return 2
        if new != old:
            file.write_text(new, encoding="utf-8")
        print(f"{file}: {len(BLOCK.findall(new))} blocks, {'unchanged' if new == old else 'written'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
