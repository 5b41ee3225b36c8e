"""`dqrun tag RUN|FILTER ... --add WORDS --remove WORDS --note TEXT`: changes tags and notes of recorded trials."""

from __future__ import annotations

from collections.abc import Sequence

from dqrun.cli.verbs.runs import add_choice, chosen, conclude
from dqrun.cli.verbs.trials import UNFINISHED, require_results
from dqrun.composition.arguments import VerbParser
from dqrun.config.run import listed_tags
from dqrun.errors import ConfigError
from dqrun.paths import user_path


def main(argv: Sequence[str]) -> int:
    """Writes the new tags and notes into the rows. Returns the exit code: 2 if a row could not be changed."""
    arguments = build_parser().parse_intermixed_args(argv)
    if arguments.add is None and arguments.remove is None and arguments.note is None:
        raise ConfigError("dqrun tag needs what to change: --add, --remove or --note")
    add, drop = listed_tags("--add", arguments.add), listed_tags("--remove", arguments.remove)
    note = {} if arguments.note is None else {"notes": arguments.note}
    root = user_path(arguments.results)
    require_results(root)
    trials = [trial for trial in chosen(arguments.words, root) if trial.row["status"] not in UNFINISHED]
    from dqrun.cli.verbs.removal import each_locked
    from dqrun.runs.row import Row, read_row, with_tags, write_row
    from dqrun.runs.store import Results  # imports pandas

    def change(results: Results, name: str) -> None:
        folder = results.runs / name
        row = read_row(folder / "row.json")
        write_row(folder, Row(**with_tags(row, add, drop) | note))

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
