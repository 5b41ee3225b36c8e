"""`dqrun show RUN`: one trial: its row, the settings that differ from the presets, its history, its files."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from dqrun.analysis.rows import Run
from dqrun.analysis.sheets import Sheet, as_text
from dqrun.analysis.text import for_terminal, text_of
from dqrun.cli.verbs.runs import find_trial
from dqrun.composition.arguments import VerbParser, add_results

EPOCH_COLUMNS = ("epoch", "train_loss", "val_loss", "val_metric", "lr")


def main(argv: Sequence[str]) -> int:
    """Prints the row, settings, history and files of one trial. Returns the exit code."""
    arguments = build_parser().parse_args(argv)
    trial = find_trial(arguments.run, Path(arguments.results))
    parts = [_row(trial), *_settings(trial), *_history(trial), *_files(trial)]
    print("\n\n".join(parts))
    return 0


def build_parser() -> VerbParser:
    """The words of the verb."""
    parser = VerbParser(prog="dqrun show", description="Shows one trial: row, settings, history and files.")
    parser.add_argument("run", metavar="RUN", help="a run folder, or the name of a run in the results folder or study")
    add_results(parser)
    return parser


def _row(trial: Run) -> str:
    """The columns of the row that are not empty, one per line."""
    return _columns("", [(name, text_of(value)) for name, value in trial.row.items()])


def _settings(trial: Run) -> list[str]:
    """The presets of the configuration, and the fields in which it differs from them."""
    if trial.config is None:
        return []
    from dqrun.cli.verbs.presets import nearest_presets  # imports Hydra, which completion does not need

    nearest = nearest_presets(trial.config)
    title = f"presets: {' '.join(nearest.words)}"
    if not nearest.differing:
        return [f"{for_terminal(title)}\n  no other settings"]
    lines = [(name, text_of(own), f"(preset: {text_of(preset)})") for name, (own, preset) in nearest.differing.items()]
    return [_columns(title, lines)]


def _history(trial: Run) -> list[str]:
    """The first, the chosen and the last epoch of history.csv."""
    try:
        with (trial.folder / "history.csv").open(encoding="utf-8", newline="") as stream:
            epochs = [{name: line.get(name) or "" for name in EPOCH_COLUMNS} for line in csv.DictReader(stream)]
    except (OSError, ValueError, csv.Error):
        return []
    best = str(trial.row.get("best_epoch"))
    shown = {i: "chosen" if epoch["epoch"] == best else "" for i, epoch in enumerate(epochs)}
    kept = [i for i, mark in shown.items() if mark or i in (0, len(epochs) - 1)]
    lines = [[*map(_short, epochs[i].values()), shown[i]] for i in kept]
    return [as_text(Sheet([*EPOCH_COLUMNS, ""], lines, title="history"))] if lines else []


def _short(number: str) -> str:
    """A number with five significant digits; other text unchanged."""
    try:
        return f"{float(number):.5g}"
    except ValueError:
        return number


def _files(trial: Run) -> list[str]:
    """The files of a run folder with their sizes; none for trials of a study."""
    if trial.folder.parent.name != "runs" or not trial.folder.is_dir():
        return []
    files = sorted(path for path in trial.folder.iterdir() if path.is_file())
    return [_columns(f"files in {trial.folder}", [(path.name, f"{path.stat().st_size} bytes") for path in files])]


def _columns(title: str, lines: Sequence[Sequence[str]]) -> str:
    """Lines under a title, their columns aligned; lines with an empty second column are left out."""
    shown = [[for_terminal(text) for text in line] for line in lines if line[1]]
    width = max((len(line[0]) for line in shown), default=0)
    indent = "  " if title else ""
    text = [for_terminal(title)] if title else []
    return "\n".join([*text, *(f"{indent}{line[0]:<{width}}  {'  '.join(line[1:])}" for line in shown)])
