"""Publishes trials: `python benchmarks/publish.py SRC... NAME` merges results folders into `results/published/NAME`.

The folder must hold `command.sh`, whose lines `dqrun ...` make every trial in it. A trial is published as its
`row.json` and its `config.yaml`; histories and models stay where they are (20 and 100 to 200 kB a trial). Beside them
are written `trials.csv`, `summary.csv`, `README.md` and, where matplotlib is installed, `bars.svg`. Without SRC only
these are made anew; without new trials nothing changes.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import published_readme
from omegaconf import OmegaConf

from dqrun import provenance
from dqrun.cli import build_parser
from dqrun.compose import load_configs
from dqrun.config import RunConfig
from dqrun.data.fingerprint import fingerprint
from dqrun.errors import ConfigError, DataError, DqrunError, ResultsError
from dqrun.protocol import run_id, trials, warm_start_of
from dqrun.report import plot
from dqrun.report.files import write_atomically
from dqrun.report.rows import RESULT, Run, load_runs
from dqrun.results import Results

PUBLISHED = Path(__file__).resolve().parents[1] / "results" / "published"
OF_A_MACHINE = ("data", "results", "launcher", "jobs", "track", "rerun")
"""Parts of a configuration that say how one machine ran it; published with their defaults."""

PATH = re.compile(r"(?:^|[\s'\"])/[\w.+-]+/[\w.+-]+")


def publish(sources: Sequence[Path], folder: Path, processor: str = "") -> int:
    """Merges the trials of `sources` into `folder` and writes what goes beside them; returns how many were written.

    `processor` is written into new rows that name none. Raises DqrunError, before anything is written, for a trial with
    conflicting results, a damaged row, a configuration that names the user's own files, and a trial that the folder's
    command.sh does not make.
    """
    commands = list(commands_of(folder / "command.sh"))
    published = _runs(folder) if (folder / "runs").is_dir() else []
    merged = {run.row["config_hash"]: run for run in published}
    for source in sources:
        for run in _runs(source):
            other = merged.get(run.row["config_hash"])
            merged[run.row["config_hash"]] = run if other is None else fuller(other, run)
    if not merged:
        raise ResultsError(f"no trials in {folder}")
    _require_made_by(commands, [run.row["run_id"] for run in merged.values()], folder)
    known = {run.folder for run in published}
    new = [(run, *contents(run, processor)) for run in merged.values() if run.folder not in known]
    results = Results(folder)
    for run, config, row in new:
        with results.writing(run.row["run_id"]) as target:
            (target / "config.yaml").write_text(config, encoding="utf-8")
            (target / "row.json").write_text(row, encoding="utf-8")
    results.rebuild_tables()
    (folder / ".tables.lock").unlink(missing_ok=True)
    return len(new)


def _runs(folder: Path) -> list[Run]:
    runs, complaints = load_runs([folder])
    if complaints:
        raise ResultsError(complaints[0])
    return runs


def fuller(old: Run, new: Run) -> Run:
    """The one of two rows of a trial that says more: a result before a failure, one with an integer program's too.

    Raises ResultsError where both have results that differ.
    """
    if not new.done or not old.done:
        return new if new.done else old
    integer = published_readme.INTEGER_FIELDS
    for name in (*RESULT, *integer):
        values = [run.row.get(name) for run in (old, new)]
        if values[0] != values[1] and not (name in integer and None in values):
            where = f"{values[0]} in {old.folder}, {values[1]} in {new.folder}"
            raise ResultsError(f"trial {new.row['run_id']} has conflicting results: {name} is {where}")
    return new if old.row.get(integer[0]) is None and new.row.get(integer[0]) is not None else old


def contents(run: Run, processor: str) -> tuple[str, str]:
    """`config.yaml` and `row.json` of a trial without what belongs to the machine that ran it."""
    row = dict(run.row)
    if "log" in row:
        row["log"] = ""  # the file is not published
    if processor and not row.get("processor"):
        row["processor"] = processor
    texts = portable(run.folder / "config.yaml"), json.dumps(row, indent=1) + "\n"
    for name, text in zip(("config.yaml", "row.json"), texts, strict=True):
        if found := PATH.search(text):
            raise DataError(f"{run.folder / name} names a path of its machine:{found[0]}")
    return texts


def portable(path: Path) -> str:
    """A configuration with the default of each field in OF_A_MACHINE that it has."""
    try:
        tree: Any = OmegaConf.load(path)
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}") from None
    default = OmegaConf.structured(load_defaults())
    for name in OF_A_MACHINE:
        if name in tree:
            tree[name] = default[name]
    return OmegaConf.to_yaml(tree)


def load_defaults() -> RunConfig:
    """The configuration of a bare `dqrun`."""
    (config,) = load_configs([])
    return config


def commands_of(path: Path) -> Iterator[list[str]]:
    """The words after `dqrun` of each such line of a command.sh; raises DataError without the file or a line."""
    try:
        lines = path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    except OSError as error:
        raise DataError(f"{path} must hold the commands that make the trials: {error.strerror}") from None
    commands = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("dqrun ")]
    if not commands:
        raise DataError(f"{path} must hold a line 'dqrun ...'")
    yield from commands


def _require_made_by(commands: Sequence[Sequence[str]], names: Sequence[str], folder: Path) -> None:
    made = set()
    for words in commands:
        flags = build_parser().parse_intermixed_args(words)
        configs = load_configs(flags.overrides, multirun=flags.multirun, config_dir=flags.config_dir)
        starts = [start for config in configs if (start := warm_start_of(config)) is not None]
        for config in [*starts, *configs]:
            mark = fingerprint(config.dataset)
            made |= {run_id(config, trial, mark) for trial in trials(config.protocol)}
    if others := sorted(set(names) - made):
        rule = f"make every published trial; {len(others)} are not among its {len(made)}, the first"
        raise ConfigError.rule(str(folder / "command.sh"), rule, others[0])


def write_page(folder: Path) -> None:
    """`bars.svg`, where matplotlib is there and a trial has a result, and `README.md`."""
    try:
        plot.main(["bars", str(folder), "-o", str(folder / "bars.svg")])
    except DqrunError as error:
        print(f"{error}; {folder / 'bars.svg'} stays as it is", file=sys.stderr)
    write_atomically(folder / "README.md", published_readme.render(folder).encode())


def main(argv: Sequence[str] | None = None) -> int:
    """Publishes and says how many trials were new; returns the exit code."""
    parser = argparse.ArgumentParser(description="merges finished trials into results/published/NAME")
    parser.add_argument("sources", nargs="*", type=Path, metavar="SRC", help="results folders")
    parser.add_argument("name", metavar="NAME", help="of the folder under results/published")
    made_here = "the trials were made on this machine: its processor is written into new rows that name none"
    parser.add_argument("--made-here", action="store_true", help=made_here)
    arguments = parser.parse_args(argv)
    folder = PUBLISHED / arguments.name
    try:
        written = publish(arguments.sources, folder, provenance.processor() if arguments.made_here else "")
        write_page(folder)
    except DqrunError as error:
        print(f"publish: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{folder}: {written} trials written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
