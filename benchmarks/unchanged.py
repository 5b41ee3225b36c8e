"""Whether published cells say what they said: `python benchmarks/unchanged.py [REVISION]`.

With a revision of this repository: each trial that was published there is compared, all columns of its row, with what
`results/published` has now, and so is which trials make a cell. What may differ: hashes and names made of them, columns
that the old row did not have and that are empty or hyper-parameters now, and rows that ran again because the code that
made them was not committed (listed: their results must be equal). Exits with 1 where anything else differs.

Without one: the results of all trials are compared with `benchmarks/figures/cells.txt`, which holds a digest of each, a
line for each cell, as they were when `--write` wrote that file: only after trials ran again on purpose. Trials may have
come since.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import rehash

from dqrun.analysis.merge import INTEGER
from dqrun.runs.row import HYPERPARAMETERS, RESULT

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = ROOT / "results" / "published"
DIGESTS = ROOT / "benchmarks" / "figures" / "cells.txt"
NAMED_BY_HASH = ("run_id", "config_hash", "cell_hash", "started_from")
PLACE = ("dataset", "model", "quant", "method", "plan", "seed", "fold")
ROWS_OF_A_RERUN = ("git_revision", "finished_utc", "seconds", "seconds_per_epoch", "peak_bytes", *rehash.ROW)
Row = Mapping[str, Any]


def cells_in(folder: Path) -> list[list[Row]]:
    """The rows of each cell in a published folder, which is a study or has run folders."""
    cells: dict[str, list[Row]] = {}
    for run in rehash.raw_runs(folder):
        cells.setdefault(run.row["cell_hash"], []).append(rehash.renamed(run.row))
    return list(cells.values())


def digest(row: Row) -> str:
    """The digest of a trial's settings and results, without hashes, times and machine."""
    names = (*PLACE, "estimator", "observer", "p_min", "p_max", "metric", *RESULT, *INTEGER)
    return hashlib.sha256(json.dumps([row.get(name) for name in names]).encode()).hexdigest()[:12]


def digests(folder: Path) -> list[str]:
    """A line for each cell: the study's name and the digests of its trials, sorted."""
    return sorted(f"{folder.name}: {' '.join(sorted(map(digest, cell)))}" for cell in cells_in(folder))


def lost(lines: Iterable[str], published: Path) -> list[str]:
    """The lines for which no present cell of their study contains all trials."""
    found: dict[str, list[set[str]]] = {}
    missing = []
    for line in lines:
        study, _, trials = line.partition(": ")
        if study not in found:
            found[study] = [set(map(digest, cell)) for cell in cells_in(published / study)]
        if not any(set(trials.split()) <= cell for cell in found[study]):
            missing.append(line)
    return missing


def changes(old: Row, new: Row) -> list[str]:
    """The columns in which two rows of a trial must not differ, but do."""
    rerun = old["git_revision"].endswith("+") and not new["git_revision"].endswith("+")
    free = {*NAMED_BY_HASH, *(ROWS_OF_A_RERUN if rerun else ())}
    changed = [name for name in old if name not in free and old[name] != new[name]]
    added = [
        name
        for name, value in new.items()
        if name not in {*old, *free, *HYPERPARAMETERS} and value not in (None, "", rehash.ROW.get(name, ("",))[0])
    ]
    return changed + added


def compared(old: Path, new: Path) -> tuple[int, list[str]]:
    """The number of compared trials of a study, and the differences as text."""
    now = {identity(row): (number, row) for number, cell in enumerate(cells_in(new)) for row in cell}
    found, count = [], 0
    for cell in cells_in(old):
        places = {now[identity(row)][0] for row in cell if identity(row) in now}
        if len(places) != 1:
            found.append(f"{old.name}: a cell of {len(cell)} trials is in {len(places)} cells now")
        for row in cell:
            count += 1
            names = changes(row, now[identity(row)][1]) if identity(row) in now else ["its result"]
            if names:
                found.append(f"{old.name}: {row['run_id']} differs in {', '.join(names)}")
    return count, found


def identity(row: Row) -> tuple[object, ...]:
    """The key that identifies a trial's row: its digest, best epoch and number of parameters."""
    return digest(row), *(row.get(name) for name in ("best_epoch", "parameters"))


def published_at(revision: str, folder: Path) -> Path:
    """Unpacks the published results of a revision into `folder`; returns their folder."""
    command = ["git", "-C", str(ROOT), "archive", revision, "results/published"]
    with tarfile.open(fileobj=io.BytesIO(subprocess.run(command, check=True, capture_output=True).stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder / "results" / "published"


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the differences and the number of compared trials, or writes DIGESTS; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision", nargs="?", metavar="REVISION")
    parser.add_argument("--write", action="store_true", help=f"write {DIGESTS.relative_to(ROOT)}")
    arguments = parser.parse_args(argv)
    if arguments.write:
        studies = sorted(path for path in PUBLISHED.iterdir() if path.is_dir())
        DIGESTS.write_text("".join(f"{line}\n" for study in studies for line in digests(study)), encoding="utf-8")
        return 0
    if arguments.revision is None:
        lines = DIGESTS.read_text(encoding="utf-8").splitlines()
        count, found = sum(len(line.split()) - 1 for line in lines), lost(lines, PUBLISHED)
    else:
        count, found = 0, []
        with tempfile.TemporaryDirectory() as folder:
            for old in sorted(published_at(arguments.revision, Path(folder)).iterdir()):
                number, differing = compared(old, PUBLISHED / old.name)
                count, found = count + number, found + differing
    print(*found, f"{count} trials compared, {len(found)} differences", sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
