"""`Outcome`: the results of a trial and its row; `record` writes both into the trial's folder."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import astuple, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from dqrun.analysis.text import csv_line
from dqrun.config import RunConfig
from dqrun.config.tasks import METRIC_COLUMNS
from dqrun.data.features import FeatureRule
from dqrun.data.fingerprint import fingerprint
from dqrun.durable import write_text
from dqrun.nn import GNN
from dqrun.runs.model_file import Shapes, save_model
from dqrun.runs.protocol import Trial, canonical, cell_hash, run_id, trial_hash
from dqrun.runs.provenance import code_version, git_revision, processor, versions
from dqrun.runs.row import Row, hyperparameters, write_row
from dqrun.runs.store import MODEL, Results
from dqrun.training.checkpoints import STATE
from dqrun.training.state import Epoch, Fit
from dqrun.training.tasks import Task

LOG = "log.txt"
COSTS = ("average_bits", "model_bytes", "bit_operations", "search_epochs", "search_seconds")
"""Columns that say what a network costs and what the search for its widths has cost."""


@dataclass(frozen=True)
class Outcome:
    """The results of a trial."""

    row: Row
    result: Fit
    model: GNN | None
    shapes: Shapes | None
    features: FeatureRule | None
    log: str
    """The description of a failure; empty for a result."""
    state: bytes | None = None
    """The state of training at its end, where it is to be kept."""


def failed(config: RunConfig, trial: Trial, reason: str, log: str) -> Outcome:
    """The outcome of a trial without a result; `reason`: one line, `log`: details."""
    row = make_row(config, trial, Fit(), None, {"reason": reason})
    return Outcome(row, Fit(), None, None, None, log)


def make_row(
    config: RunConfig,
    trial: Trial,
    result: Fit,
    model: GNN | None,
    measured: dict[str, Any],
) -> Row:
    """The trial's row; `measured`: the columns that the trial has measured, or the reason of its failure."""
    effective, task = canonical(config), Task.of(config.dataset)
    quant = config.quant
    mark = fingerprint(config.dataset)
    given: dict[str, Any] = {name: measured.get(name) for name in (*METRIC_COLUMNS, *COSTS)}
    return Row(
        run_id=run_id(config, trial, mark),
        dataset=config.dataset.name,
        task=task.name,
        model=config.model.name,
        quant=quant.label,
        weight_bits=quant.weight_bits,
        activation_bits=quant.activation_bits,
        plan=effective.plan.name,
        protocol=config.protocol.name,
        seed=trial.seed,
        fold=trial.fold,
        epochs=len(result.history),
        best_epoch=result.best.epoch if result.best else None,
        metric=task.metric,
        higher_is_better=task.higher_is_better,
        train_metric=measured.get("train_metric"),
        val_metric=measured.get("val_metric"),
        test_metric=measured.get("test_metric"),
        status="failed" if "reason" in measured else "done",
        reason=measured.get("reason", ""),
        seconds=round(measured.get("seconds", 0.0), 3),
        setup_seconds=round(measured.get("setup_seconds", 0.0), 3),
        seconds_per_epoch=round(statistics.median(e.seconds for e in result.history), 6) if result.history else None,
        peak_bytes=measured.get("peak_bytes"),
        parameters=None if model is None else sum(parameter.numel() for parameter in model.parameters()),
        device=config.device,
        threads=torch.get_num_threads(),
        config_hash=trial_hash(config, trial, mark),
        git_revision=git_revision(),
        **versions() | {"dqrun_version": code_version(config)},
        finished_utc=datetime.now(UTC).isoformat(timespec="milliseconds"),
        cell_hash=cell_hash(config, mark),
        test_metric_integer=measured.get("test_metric_integer"),
        integer_agreement=measured.get("integer_agreement"),
        integer_agreement_float32=measured.get("integer_agreement_float32"),
        baseline=measured.get("baseline"),
        **given,
        processor=processor(),
        **hyperparameters(config),
        started_from=measured.get("started_from", ""),
        data_fingerprint=measured.get("data_fingerprint", ""),
        processes=config.processes,
        kernels=measured.get("kernels", ""),
        tags=" ".join(config.tags),
        notes=config.notes,
    )


def placed(outcome: Outcome, results: Results) -> Outcome:
    """The outcome with the final name of its trial's folder; the caller must hold the trial's lock."""
    name = results.place(outcome.row.run_id, outcome.row.config_hash)
    return replace(outcome, row=replace(outcome.row, run_id=name, log=f"runs/{name}/{LOG}" if outcome.log else ""))


def record(outcome: Outcome, config: RunConfig, results: Results, confirm: Callable[[], None] = lambda: None) -> None:
    """Writes a trial's folder; raises TrialFailed on a full disk.

    `confirm` is called last, before the folder gets its name; it raises an error if another process has taken over the
    trial.
    """
    row = outcome.row
    with results.writing(row.run_id) as folder:
        write_config(folder / "config.yaml", config)
        lines = [[column.name for column in fields(Epoch)], *map(astuple, outcome.result.history)]
        (folder / "history.csv").write_text("".join(map(csv_line, lines)), encoding="utf-8")
        if outcome.log:
            (folder / LOG).write_text(f"{outcome.log.rstrip()}\n", encoding="utf-8", errors="backslashreplace")
        if outcome.model is not None and row.status == "done":
            assert outcome.shapes is not None and outcome.features is not None
            save_model(folder / MODEL, outcome.model, config, outcome.shapes, outcome.features)
            if outcome.state is not None:
                (folder / STATE).write_bytes(outcome.state)
        write_row(folder, row)
        confirm()


def write_config(path: Path, config: RunConfig) -> None:
    """Writes the resolved configuration as YAML."""
    write_text(path, OmegaConf.to_yaml(OmegaConf.structured(config)))
