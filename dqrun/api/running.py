"""`dqrun.run`: trials from Python, as the command line runs them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dqrun.api.errors import one_line, require_no_flags, require_path, require_words
from dqrun.composition.compose import load_jobs
from dqrun.composition.groups import config_folders, list_groups
from dqrun.composition.recipes import advice_on
from dqrun.config import ResultsConfig, RunConfig
from dqrun.process.interrupts import listening

if TYPE_CHECKING:
    import pandas as pd


def run(
    *overrides: str,
    results: str | os.PathLike[str] | None = None,
    progress: bool = True,
    config_dir: str | None = None,
) -> pd.DataFrame:
    """Runs trials and returns their rows: what `dqrun -m OVERRIDES` does and writes.

    `overrides`: `"GROUP=OPTION"` and `"FIELD=VALUE"` as on the command line; several values (`"quant=int8,int4"`) make
    a sweep. `results`: the results folder, in place of `results.dir`. `progress`: whether to report progress on stderr;
    if False, only failures. `config_dir`: a folder with configuration groups of your own.

    Trials that already have a row are not run again (`"rerun=true"` runs them). The result has one row for each
    requested trial, in order, with the columns of `trials.csv`: hyper-parameters, metrics, `cell_hash` (equal for the
    trials that make one mean), `status` and, for a failed trial, `reason`. If another process is running a trial, the
    call waits for it.

    Ctrl-C raises KeyboardInterrupt; finished trials are kept, and a repeated call continues with the others. Raises
    DqrunError, in one line, for overrides, data and folders that can't be used.
    """
    require_words("an override", overrides, "quant=int4")
    require_no_flags(overrides)
    for name, place in (("results", results), ("config_dir", config_dir)):
        if place is not None:
            require_path(name, place)
    with one_line(), listening():
        jobs = load_jobs(overrides, multirun=True, config_dir=config_dir)
        groups = list_groups(config_folders(config_dir))
        configs = [_placed(job.config, results) for job in jobs]
        return _rows(configs, progress, advice_on(jobs, groups))


def _placed(config: RunConfig, results: str | os.PathLike[str] | None) -> RunConfig:
    return config if results is None else replace(config, results=ResultsConfig(dir=os.fspath(results)))


def _rows(configs: list[RunConfig], progress: bool, advice: Sequence[str]) -> pd.DataFrame:
    """Runs all trials of the configurations; their rows in the order in which they were asked for."""
    import pandas as pd
    import torch

    from dqrun.analysis.progress import Progress
    from dqrun.data.fingerprint import fingerprint
    from dqrun.runs.protocol import named_trials
    from dqrun.runs.row import TRIAL_COLUMNS
    from dqrun.runs.store import Results
    from dqrun.sweep.run import run_plan

    told = Progress(quiet=not progress)
    for line in advice:
        told.note(line)
    threads = torch.get_num_threads()
    try:
        run_plan(configs, told)
    finally:
        torch.set_num_threads(threads)  # a trial sets them for the process
    rows: dict[tuple[str, str], dict[str, Any] | None] = {}
    for config in configs:
        folder = Results(config.results.dir)
        for _, name, own in named_trials(config, fingerprint(config.dataset)):
            rows[config.results.dir, own] = folder.row(name, own)
    return pd.DataFrame([row for row in rows.values() if row is not None], columns=TRIAL_COLUMNS)
