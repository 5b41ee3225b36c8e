"""`dqrun publish [RESULTS ...] -o STUDY`: finished trials as a study of few files. See docs/howto/comparing.md."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from filelock import FileLock

from dqrun.analysis.merge import Merge, is_dirty
from dqrun.analysis.rows import Run, config_of, load_runs
from dqrun.analysis.select import choose, split_words
from dqrun.analysis.study import COMMANDS, flat, is_study, write_study
from dqrun.analysis.study_page import write_page
from dqrun.composition.arguments import VerbParser
from dqrun.composition.compose import load_configs
from dqrun.config.run import listed_tags
from dqrun.data.fingerprint import fingerprint
from dqrun.durable import write_text
from dqrun.errors import ConfigError, DataError, ResultsError
from dqrun.runs.protocol import Trial, cell_hash, identity, named_trials, trial_hash, warm_start_of
from dqrun.runs.row import with_tags

_PATH = re.compile(r"(?:^|[\s'\"])/[\w.+-]+/[\w.+-]+")


def build_parser() -> VerbParser:
    """The words after `dqrun publish`."""
    parser = VerbParser(
        prog="dqrun publish",
        description="merges finished and failed trials into a study: trials.csv, configs.yaml, README.md and a picture",
    )
    words = "results folders and studies, and conditions on any field: quant=int4 'seed<5'"
    parser.add_argument("words", nargs="*", metavar="RESULTS|FILTER", help=words)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="STUDY", help="its folder, new or extended")
    commands = f"becomes {COMMANDS}: its lines 'dqrun ...' must make every trial of the study (a new study needs it)"
    parser.add_argument("--commands", type=Path, metavar="FILE", help=commands)
    tags = "tags for all trials of the study, separated by commas: what a reader must know beside each number"
    parser.add_argument("--tag", metavar="WORDS", help=tags)
    return parser


def main(argv: Sequence[str]) -> int:
    """Publishes, and prints how many trials were new, replaced and already there. Returns the exit code."""
    arguments = build_parser().parse_intermixed_args(argv)
    folders, filters = split_words(arguments.words)
    tags = listed_tags("--tag", arguments.tag)
    runs = choose([run for folder in folders for run in runs_in(Path(folder))], filters)
    try:
        said = publish(runs, arguments.output, arguments.commands, tags)
        write_page(arguments.output)
    except OSError as error:
        raise ResultsError(f"could not write {error.filename or arguments.output}: {error.strerror}") from None
    print(f"{arguments.output}: {', '.join(f'{count} {what}' for what, count in said.items())}")
    return 0


def publish(
    runs: Iterable[Run], folder: Path, commands: Path | None = None, tags: Sequence[str] = ()
) -> dict[str, int]:
    """Merges runs into the study in `folder`; returns how many were new, replaced and already there.

    `commands`: the file that becomes the study's command.sh; None: the study has one. `tags`: what all of its trials
    get, beside the tags that they have. Raises DqrunError, before anything is written, for a row from code with
    uncommitted changes, a row whose hash does not fit its configuration, conflicting results, a path of the machine,
    and a trial that no line of the commands makes.
    """
    if (folder / "runs").is_dir():
        raise ConfigError.rule("-o", "name a folder of its own, not a results folder", str(folder))
    text = _read_commands(commands, folder)
    with _locked(folder):
        merge = Merge(runs_in(folder) if is_study(folder) else [])
        for run in runs:
            merge.add(_published(run))
        if not merge.runs:
            raise ResultsError(f"no trials for {folder}")
        _require_made_by(text, merge.runs, folder / COMMANDS)
        write_text(folder / COMMANDS, text)
        write_runs(folder, [replace(run, row=with_tags(run.row, tags)) for run in merge.runs])
    return {name: merge.counts[name] for name in ("new", "replaced", "there before")}


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds the lock of a study: one process at a time may change it. Afterwards the lock file is removed, and a new
    study's folder too if nothing was written there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".publish.lock") as lock:
        try:
            yield
        finally:
            Path(lock.lock_file).unlink(missing_ok=True)
            if not any(folder.iterdir()):
                folder.rmdir()


def write_runs(folder: Path, runs: Sequence[Run]) -> None:
    """Replaces the rows and configurations of a study."""
    one_per_cell = {run.row["cell_hash"]: run for run in runs}
    configs = {cell: identity(config_of(run)) for cell, run in one_per_cell.items()}
    write_study(folder, [run.row for run in runs], configs)


def runs_in(folder: Path) -> list[Run]:
    """The runs of a results folder or study; raises ResultsError where one of them is damaged."""
    runs, complaints = load_runs([folder])
    if complaints:
        raise ResultsError(complaints[0])
    return runs


def _published(run: Run) -> Run:
    """A run in its published form, without its log. Raises DqrunError for a run that must not be published."""
    if is_dirty(run):
        revision = run.row["git_revision"]
        raise ResultsError(f"{run.folder} comes from code that no commit holds (git_revision {revision}): run it again")
    config, trial = config_of(run), Trial(run.row["seed"], run.row["fold"])
    mark = fingerprint(config.dataset)
    if (cell_hash(config, mark), trial_hash(config, trial, mark)) != (run.row["cell_hash"], run.row["config_hash"]):
        raise DataError(f"{run.configuration.path} and the data that it names do not have the hash that the row has")
    row = {**run.row, "log": ""}
    for name, value in flat({"row": row, "config": identity(config)}).items():
        if found := _PATH.search(str(value)):
            raise DataError(f"{run.folder}: {name} names a path of its machine: {found[0].strip()}")
    return replace(run, row=row)


def _read_commands(given: Path | None, study: Path) -> str:
    """The text of `given`, else of the study's own file."""
    path = given or study / COMMANDS
    if given is None and not path.exists():
        raise ConfigError(f"--commands must name a file with the commands that make the trials: {study} has none yet")
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path} must hold the commands that make the trials: {error.strerror}") from None


def _require_made_by(text: str, runs: Sequence[Run], path: Path) -> None:
    """Raises ConfigError unless the lines `dqrun ...` of a shell script make each trial."""
    made = {made for line in _lines(text) for made in _made_by(line)}
    if not made:
        raise ConfigError(f"{path} must hold a line 'dqrun ...' that makes trials")
    others = sorted({run.row["run_id"] for run in runs if run.row["config_hash"] not in made})
    if others:
        counts = f"its lines make {len(made)} trials, and {len(others)} others are published, the first of them"
        rule = f"have a line for every published trial; {counts}"
        raise ConfigError.rule(str(path), rule, others[0])


def _lines(text: str) -> list[list[str]]:
    """The words after `dqrun` of each such line."""
    lines = text.replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("dqrun ")]


def _made_by(words: Sequence[str]) -> set[str]:
    """The `config_hash` of each trial that a command line runs, including FP32 trials of warm starts."""
    parser = VerbParser("dqrun", add_help=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("--config-dir")
    flags, _ = parser.parse_known_intermixed_args(words)  # other flags do not change which trials run
    configs = load_configs(flags.overrides, multirun=flags.multirun, config_dir=flags.config_dir)
    starts = [start for config in configs if (start := warm_start_of(config)) is not None]
    return {
        digest for config in [*starts, *configs] for _, _, digest in named_trials(config, fingerprint(config.dataset))
    }
