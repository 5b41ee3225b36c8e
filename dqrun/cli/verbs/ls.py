"""`dqrun ls [DIR ...] [FILTER ...]`: a line per trial: finished, failed, running, stopped and damaged ones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from dqrun.analysis.rows import Run
from dqrun.analysis.select import choose, split_words
from dqrun.analysis.sheets import Sheet, as_text
from dqrun.analysis.text import for_terminal, format_mean
from dqrun.cli.verbs.runs import known_to, tell
from dqrun.cli.verbs.trials import list_trials
from dqrun.composition.arguments import VerbParser
from dqrun.paths import user_path

HEADER = ("run", "status", "metric", "test", "validation", "epochs", "age", "tags", "about")
_SECONDS = {"d": 86400, "h": 3600, "min": 60, "s": 1}


def main(argv: Sequence[str]) -> int:
    """Prints the trials of results folders and studies. Returns the exit code."""
    arguments = build_parser().parse_intermixed_args(argv)
    dirs, filters = split_words(arguments.words)
    listed = [list_trials(user_path(name)) for name in dirs or ["results"]]
    trials = [trial for found, _ in listed for trial in found]
    found = known_to(filters, choose(trials, filters)) if trials else []
    tell(text for _, complaints in listed for text in complaints)
    if arguments.names:
        for trial in found:
            print(for_terminal(trial.row["run_id"]))
    elif found:
        print(table(found, datetime.now(UTC)))
    else:
        print("no trials")
    return 0


def build_parser() -> VerbParser:
    """The words of the verb."""
    parser = VerbParser(
        prog="dqrun ls", description="Lists trials, oldest first; the last column has a note or a reason."
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="DIR|FILTER",
        help="results folders or studies (default: results), and conditions: status=failed tags=paper 'seed<5'",
    )
    parser.add_argument("--names", action="store_true", help="names only, one a line")
    return parser


def table(trials: Sequence[Run], now: datetime) -> str:
    """One line per trial; columns that are empty in all lines are left out."""
    lines = [_line(trial, now) for trial in trials]
    kept = [i for i in range(len(HEADER)) if any(line[i] for line in lines)]
    return as_text(Sheet([HEADER[i] for i in kept], [[line[i] for i in kept] for line in lines]))


def _line(trial: Run, now: datetime) -> list[str]:
    row = trial.row
    metric = row.get("metric", "")
    test, validation = (_number(row.get(f"{part}_metric"), metric) for part in ("test", "val"))
    epochs = "" if row.get("epochs") is None else f"{row['epochs']}"
    about = row.get("notes") or row.get("reason") or ""
    age = age_of(row["finished_utc"], now) if "finished_utc" in row else ""
    return [row["run_id"], row["status"], metric, test, validation, epochs, age, row.get("tags", ""), about]


def _number(value: float | None, metric: str) -> str:
    return "" if value is None else format_mean(value, float("nan"), metric)


def age_of(finished: str, now: datetime) -> str:
    """The age of a time in ISO 8601 in its largest unit, e.g. `3 h`; "" for other text. Without an offset: UTC."""
    try:
        then = datetime.fromisoformat(finished)
        seconds = (now - (then if then.tzinfo else then.replace(tzinfo=UTC))).total_seconds()
    except ValueError:
        return ""
    unit = next((unit for unit, size in _SECONDS.items() if seconds >= size), "s")
    return f"{max(0, int(seconds // _SECONDS[unit]))} {unit}"
