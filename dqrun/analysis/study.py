"""A study: the trials of one question as few files, for a repository or an archive.

`trials.csv` has a line per trial: the columns of its row, and the settings in which configurations of the study differ.
`configs.yaml` has everything that determined a trial's result, once for each `cell_hash`; seed and fold are columns of
the row. Folders, the number of threads and other trials of the command are not in `configs.yaml`.

`dqrun publish` writes a study (see publish.py). Commands that read a results folder read a study too.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dqrun.analysis.text import csv_line, from_csv
from dqrun.durable import write_text
from dqrun.errors import ResultsError
from dqrun.runs.row import TRIAL_COLUMNS, row_of_cells

TRIALS, CONFIGS, COMMANDS = "trials.csv", "configs.yaml", "command.sh"

_ENTRY = re.compile(r'^"(?P<hash>[\w.-]+)":\n(?P<body>(?:  .*\n)+)', re.MULTILINE)


@dataclass(frozen=True)
class Study:
    """The content of the two files: rows, oldest first, and the YAML text of each configuration by its `cell_hash`."""

    rows: list[dict[str, Any]]
    configs: dict[str, str]


def is_study(folder: Path) -> bool:
    """Whether a folder holds a study."""
    return (folder / CONFIGS).is_file()


def read_study(folder: Path) -> tuple[Study, list[str]]:
    """The study in a folder, and a complaint for each invalid line of trials.csv.

    Raises ResultsError if one of the files cannot be read or does not belong to a study.
    """
    try:
        text, configs = ((folder / name).read_bytes().decode() for name in (TRIALS, CONFIGS))
    except OSError as error:
        raise ResultsError(f"{error.filename} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ResultsError(f"{folder}: {TRIALS} and {CONFIGS} must be UTF-8 text") from None
    entries = {entry["hash"]: entry["body"] for entry in _ENTRY.finditer(configs)}
    if _ENTRY.sub("", configs).strip() or not entries:
        raise ResultsError(
            f"{folder / CONFIGS} must hold entries '\"cell_hash\":', each with an indented configuration"
        )
    rows, complaints = _read_rows(folder / TRIALS, text)
    lacking = {row["cell_hash"] for row in rows} - entries.keys()
    complaints += [f"{folder / CONFIGS} lacks the configuration of cell {cell}" for cell in sorted(lacking)]
    return Study([row for row in rows if row["cell_hash"] not in lacking], entries), complaints


def write_study(folder: Path, rows: Sequence[Mapping[str, Any]], configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Replaces both files, each in one step; configurations first, so that no row is ever without its own.

    `configs`: by `cell_hash`. Raises OSError.
    """
    rows = sorted(rows, key=lambda row: (row["finished_utc"], row["run_id"]))
    used = dict.fromkeys(row["cell_hash"] for row in rows)
    write_text(folder / CONFIGS, "".join(f'"{cell}":\n{_indented(configs[cell])}' for cell in used))
    write_text(folder / TRIALS, _csv(rows, {cell: flat(configs[cell]) for cell in used}))


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as dotted names."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def _indented(tree: Mapping[str, Any]) -> str:
    text: str = yaml.safe_dump(dict(tree), sort_keys=False, allow_unicode=True, width=1000)
    return "".join(f"  {line}\n" for line in text.split("\n")[:-1])


def _csv(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Mapping[str, Any]]) -> str:
    known = dict.fromkeys(name for tree in settings.values() for name in tree if not name.startswith("plan.rules."))
    names = [name for name in known if len({repr(tree.get(name)) for tree in settings.values()}) > 1]
    lines: list[list[Any]] = [[*TRIAL_COLUMNS, *names]]
    for row in rows:
        own = settings[row["cell_hash"]]
        lines.append([*map(row.get, TRIAL_COLUMNS), *map(own.get, names)])
    return "".join(map(csv_line, lines))


def _read_rows(path: Path, text: str) -> tuple[list[dict[str, Any]], list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows, complaints = [], []
    try:
        header = next(reader, [])
        for cells in reader:
            try:
                rows.append(_row(header, cells))
            except ValueError as error:
                complaints.append(f"{path}: line {reader.line_num} is damaged and was skipped ({error})")
    except csv.Error as error:
        complaints.append(f"{path}: line {reader.line_num} is damaged and ended the table ({error})")
    return rows, complaints


def _row(header: Sequence[str], cells: Sequence[str]) -> dict[str, Any]:
    """The row of a line; columns with a dot are settings, which configs.yaml has too."""
    if len(cells) != len(header):
        raise ValueError(f"it has {len(cells)} cells, the header {len(header)}")
    named = {name: from_csv(cell) for name, cell in zip(header, cells, strict=True) if "." not in name}
    return row_of_cells(named)
