"""`dqrun tag RUN|FILTER ... --add WORDS --remove WORDS --note TEXT`: changes tags and notes of recorded trials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dqrun.cli.verbs.runs import add_choice, chosen, conclude
from dqrun.cli.verbs.trials import UNFINISHED, require_results
from dqrun.composition.arguments import VerbParser
from dqrun.config.run import require_tags
from dqrun.errors import ConfigError
from dqrun.paths import user_path


def main(argv: Sequence[str]) -> int:
    """Writes the new tags and notes into the rows. Returns the exit code: 2 if a row could not be changed."""
    arguments = build_parser().parse_intermixed_args(argv)
    if arguments.add is None and arguments.remove is None and arguments.note is None:
        raise ConfigError("dqrun tag needs what to change: --add, --remove or --note")
    add, drop = _words("--add", arguments.add), _words("--remove", arguments.remove)
    root = user_path(arguments.results)
    require_results(root)
    trials = [trial for trial in chosen(arguments.words, root) if trial.row["status"] not in UNFINISHED]
    from dqrun.cli.verbs.removal import each_locked
    from dqrun.runs.row import Row, read_row, write_row
    from dqrun.runs.store import Results  # imports pandas

    def change(results: Results, name: str) -> None:
        folder = results.runs / name
        row = read_row(folder / "row.json")
        write_row(folder, Row(**changed(row, add, drop, arguments.note)))

    left = each_locked(root, [trial.row["run_id"] for trial in trials], change)
    return conclude(len(trials) - len(left), "changed", left)


def build_parser() -> VerbParser:
    """The words of the verb."""
    parser = VerbParser(
        prog="dqrun tag",
        description="Changes tags and notes of recorded trials: dqrun tag RUN --add paper,final --note 'in table 2'. "
        "tags=[paper] and notes=TEXT give them when a trial is run; tags=paper chooses by them in ls, compare and rm.",
    )
    add_choice(parser)
    parser.add_argument("--add", metavar="WORDS", help="tags to add, separated by commas")
    parser.add_argument("--remove", metavar="WORDS", help="tags to take away, separated by commas")
    parser.add_argument("--note", metavar="TEXT", help="the new note; '' removes it")
    return parser


def changed(row: dict[str, Any], add: Sequence[str], drop: Sequence[str], note: str | None) -> dict[str, Any]:
    """A copy of the row with changed tags, without repetitions, and, unless `note` is None, the new note."""
    tags = [tag for tag in dict.fromkeys([*row["tags"].split(), *add]) if tag not in drop]
    return row | {"tags": " ".join(tags)} | ({} if note is None else {"notes": note})


def _words(option: str, text: str | None) -> list[str]:
    """The tags of a comma list; raises ConfigError for an invalid tag."""
    words = [] if text is None else text.split(",")
    require_tags(option, words)
    return words
