"""`dqrun rm RUN|FILTER ...`: removes trials (run folder, checkpoint, leftovers), but none that runs now."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from dqrun.analysis.meter import count
from dqrun.analysis.rows import Run
from dqrun.analysis.text import for_terminal
from dqrun.cli.verbs.runs import add_choice, chosen, conclude
from dqrun.cli.verbs.trials import require_results
from dqrun.composition.arguments import VerbParser
from dqrun.errors import ConfigError
from dqrun.paths import user_path

SHOWN = 20


def main(argv: Sequence[str]) -> int:
    """Removes the chosen trials after a question. Returns the exit code: 2 if a trial could not be removed."""
    arguments = build_parser().parse_intermixed_args(argv)
    root = user_path(arguments.results)
    require_results(root)
    trials = chosen(arguments.words, root)
    running = [trial for trial in trials if trial.row["status"] == "running"]
    free = [trial for trial in trials if trial.row["status"] != "running"]
    for trial in running:
        print(f"{_name(trial)} is run by {trial.row['reason']}: it stays")
    print(*(f"{_name(trial)} ({trial.row['status']})" for trial in free[:SHOWN]), sep="\n")
    if len(free) > SHOWN:
        print(f"and {len(free) - SHOWN} more")
    if arguments.dry_run or not free:
        print(f"{count(len(free), 'trial')} would be removed" if free else "nothing to remove")
        return 0
    if not arguments.yes and not _agreed(len(free), root):
        print("nothing was removed")
        return 0
    from dqrun.cli.verbs.removal import remove  # imports pandas: only now that something is removed

    left = remove(root, [trial.row["run_id"] for trial in free])
    return conclude(len(free) - len(left), "removed", left)


def build_parser() -> VerbParser:
    """The words of the verb."""
    parser = VerbParser(
        prog="dqrun rm",
        description="Removes trials and rebuilds the tables: dqrun rm status=failed, dqrun rm RUN RUN, "
        "dqrun rm quant=int4 'seed>=5' --dry-run. A trial that runs now stays.",
    )
    add_choice(parser)
    parser.add_argument("--dry-run", action="store_true", help="show what would be removed, and stop")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    return parser


def _agreed(number: int, root: Path) -> bool:
    """Asks the user for consent; raises ConfigError if standard input is no terminal."""
    if not sys.stdin.isatty():
        raise ConfigError(
            "dqrun rm asks before it removes: give -y where nobody can answer, or --dry-run to look first"
        )
    return input(f"remove {count(number, 'trial')} from {root}? [y/N] ").strip().lower() in ("y", "yes")


def _name(trial: Run) -> str:
    return for_terminal(trial.row["run_id"])
