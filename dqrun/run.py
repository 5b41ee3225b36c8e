"""The main job: `run_all` takes configurations, runs their trials and records them."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from omegaconf import OmegaConf

from dqrun import kernels, seeding
from dqrun.build import build_model, uses_self_loops
from dqrun.checkpoint import Shapes, save_model
from dqrun.config import RunConfig
from dqrun.data.dataset import GraphDataset, load_dataset
from dqrun.data.features import FeatureRule
from dqrun.data.fingerprint import fingerprint
from dqrun.data.splits import split_for
from dqrun.data.trial_data import TrialData
from dqrun.errors import ConfigError, TrialFailed
from dqrun.integer_evaluation import evaluate_integer
from dqrun.memory import keep_freed_memory
from dqrun.methods.degree_quant import Protection
from dqrun.nn import GNN
from dqrun.protocol import Trial, canonical, cell_hash, run_id, trial_hash, trials
from dqrun.provenance import PeakMemory, git_revision, versions
from dqrun.quant import Phase
from dqrun.quant.plan import set_phase
from dqrun.report.progress import Progress
from dqrun.results import Results, Row, write_row
from dqrun.tasks import Task
from dqrun.training import Epoch, Fit, Streams, calibrate, evaluate, fit


@dataclass(frozen=True)
class Outcome:
    """What a trial leaves behind."""

    row: Row
    result: Fit
    model: GNN
    shapes: Shapes
    features: FeatureRule


def run_all(configs: list[RunConfig], *, quiet: bool = False) -> int:
    """Runs every trial of every configuration that has no row yet; returns 1 when one failed, else 0.

    Each finished trial is a folder under `results.dir` before the next one starts.
    """
    keep_freed_memory()
    for config in configs:
        require_device(config.device)
    folders = [Results(config.results.dir) for config in configs]  # before hours of training: can all be written to?
    progress = Progress(quiet)
    datasets: dict[str, GraphDataset] = {}
    cells: dict[str, Results] = {}
    failed = 0
    for config, results in zip(configs, folders, strict=True):
        torch.set_num_threads(config.threads or os.cpu_count() or 1)
        key = repr((config.dataset, config.data))
        if key not in datasets:
            datasets[key] = load_dataset(config.dataset, config.data)
            progress.note(datasets[key].note)
        for trial in trials(config.protocol):
            failed += not _run_or_skip(config, trial, datasets[key], results, progress)
        cells[cell_hash(config, fingerprint(config.dataset))] = results
    progress.summary(cells)
    return 1 if failed else 0


def _run_or_skip(config: RunConfig, trial: Trial, dataset: GraphDataset, results: Results, progress: Progress) -> bool:
    """Runs and records one trial unless it is done already; returns whether it has a result."""
    name = run_id(config, trial, fingerprint(config.dataset))
    known = results.row(name)
    if known is not None and is_complete(known, config) and not config.rerun:
        progress.skipped(name, known)
        return True
    outcome = run_trial(config, trial, dataset, progress)
    try:
        record(outcome, config, results)
        progress.complain(results.rebuild_tables())
    except TrialFailed as error:
        progress.finished(replace(outcome.row, status="failed", reason=str(error)))
        return False
    progress.finished(outcome.row)
    return outcome.row.status == "done"


def is_complete(row: dict[str, Any], config: RunConfig) -> bool:
    """Whether a recorded row has all that this configuration asks for."""
    has_integer = row["test_metric_integer"] is not None
    return row["status"] == "done" and (has_integer or config.evaluate.engine != "integer")


def run_trial(config: RunConfig, trial: Trial, dataset: GraphDataset, progress: Progress) -> Outcome:
    """Trains, chooses the epoch by validation, reads the test data once. A failure becomes a row, not an exception."""
    started = time.perf_counter()
    memory = PeakMemory(config.device)
    task = Task(config.dataset.task)
    split = split_for(dataset, config.protocol, trial.fold)
    measured: dict[str, Any] = {}
    result = Fit()
    with kernels.use(config.kernels), forked_rng(trial.seed):
        data = TrialData.build(
            dataset, split, config.dataset, config.train.batch_size, uses_self_loops(config.model), config.device
        )
        shapes = Shapes(data.in_channels, data.num_categories, data.out_channels)
        noise = seeding.generator(trial.seed, seeding.NOISE, config.device)
        model = build_model(config, **asdict(shapes), generator=noise).to(config.device)
        try:
            with progress.trial(config, trial) as report:
                result = train(model, data, task, config, trial, report)
            for part in ("train", "val", "test"):
                measured[f"{part}_metric"] = evaluate(model, data.batches(part), task)[1]
            if config.evaluate.engine == "integer":
                measured |= asdict(evaluate_integer(model, data.batches("test"), task))
        except TrialFailed as error:
            measured = {"reason": str(error)}
    row = make_row(config, trial, task, result, model, measured, memory.bytes(), time.perf_counter() - started)
    return Outcome(row, result, model, shapes, data.rule)


def train(
    model: GNN, data: TrialData, task: Task, config: RunConfig, trial: Trial, report: Callable[[Epoch], None]
) -> Fit:
    """Fits the network by the run's method and leaves it in the state that validation chose."""
    method = config.method
    if method.post_training:
        set_phase(model, Phase.BYPASS)
    result = fit(
        model,
        data.train_batches,
        lambda: data.batches("val"),
        task,
        config.train,
        Streams(
            seeding.generator(trial.seed, seeding.SHUFFLE),
            seeding.generator(trial.seed, seeding.PROTECTION, config.device),
        ),
        make_protection(config),
        report,
    )
    model.load_state_dict(result.state)
    if method.post_training:
        calibrate(model, data.batches("train"))
    return result


def make_protection(config: RunConfig) -> Protection | None:
    """Degree-Quant's protection, or None where the method or FP32 has none."""
    protection = config.method.protection
    if not protection.enabled or protection.p_max == 0 or config.quant.is_fp32:
        return None
    return Protection(protection.p_min, protection.p_max, config.model.layers if protection.per_layer else 1)


def make_row(
    config: RunConfig,
    trial: Trial,
    task: Task,
    result: Fit,
    model: GNN,
    measured: dict[str, Any],
    peak_bytes: int,
    seconds: float,
) -> Row:
    """The trial's row; `measured` holds the three metrics, or the reason of a failure."""
    effective = canonical(config)
    method, quant, protection = effective.method, config.quant, make_protection(config)
    mark = fingerprint(config.dataset)
    return Row(
        run_id=run_id(config, trial, mark),
        dataset=config.dataset.name,
        task=task.name,
        model=config.model.name,
        quant=quant.label,
        weight_bits=quant.weight_bits,
        activation_bits=quant.activation_bits,
        method=method.name,
        estimator="" if quant.is_fp32 else method.estimator,
        observer="" if quant.is_fp32 else method.observer.label,
        p_min=protection.p_min if protection else None,
        p_max=protection.p_max if protection else None,
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
        seconds=round(seconds, 3),
        seconds_per_epoch=round(statistics.median(e.seconds for e in result.history), 6) if result.history else None,
        peak_bytes=peak_bytes,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        device=config.device,
        threads=torch.get_num_threads(),
        config_hash=trial_hash(config, trial, mark),
        git_revision=git_revision(),
        **versions(),
        finished_utc=datetime.now(UTC).isoformat(timespec="milliseconds"),
        cell_hash=cell_hash(config, mark),
        test_metric_integer=measured.get("test_metric_integer"),
        integer_agreement=measured.get("integer_agreement"),
    )


def record(outcome: Outcome, config: RunConfig, results: Results) -> None:
    """Writes a trial's folder; raises TrialFailed on a full disk."""
    with results.writing(outcome.row.run_id) as folder:
        write_config(folder / "config.yaml", config)
        pd.DataFrame([asdict(epoch) for epoch in outcome.result.history]).to_csv(folder / "history.csv", index=False)
        if outcome.row.status == "done":
            save_model(folder / "model.safetensors", outcome.model, config, outcome.shapes, outcome.features)
        write_row(folder, outcome.row)


def write_config(path: Path, config: RunConfig) -> None:
    """The resolved configuration as YAML."""
    path.write_text(OmegaConf.to_yaml(OmegaConf.structured(config)))


def require_device(device: str) -> None:
    """Raises ConfigError for a device that this machine lacks."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError.rule("device", "be cpu on a machine without CUDA", device)


@contextmanager
def forked_rng(seed: int) -> Iterator[None]:
    """Seeds torch's global generators (initial weights, dropout) and puts their state back afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
