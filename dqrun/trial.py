"""One trial: `run_trial` takes a configuration and gives an outcome, `record` writes its folder."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
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
from dqrun.checkpoint import Shapes, load_parameters, save_model
from dqrun.config import RunConfig
from dqrun.data.dataset import GraphDataset
from dqrun.data.features import FeatureRule
from dqrun.data.fingerprint import data_fingerprint, fingerprint
from dqrun.data.splits import split_for
from dqrun.data.trial_data import TrialData
from dqrun.durable import write_text
from dqrun.errors import TrialFailed
from dqrun.graph import Batch
from dqrun.integer_evaluation import evaluate_integer
from dqrun.methods.degree_quant import Protection
from dqrun.nn import GNN
from dqrun.protocol import Trial, canonical, cell_hash, run_id, trial_hash
from dqrun.provenance import PeakMemory, git_revision, processor, versions
from dqrun.quant import Phase
from dqrun.quant.plan import set_phase
from dqrun.results import MODEL, Results
from dqrun.resume import Checkpoints
from dqrun.row import Row, hyperparameters, write_row
from dqrun.tasks import Task
from dqrun.training import Epoch, Fit, Streams, calibrate, evaluate, fit, reestimate_norms

LOG = "log.txt"


@dataclass(frozen=True)
class Outcome:
    """What a trial leaves behind."""

    row: Row
    result: Fit
    model: GNN | None
    shapes: Shapes | None
    features: FeatureRule | None
    log: str
    """What is known of a failure; empty for a result."""


def run_trial(
    config: RunConfig,
    trial: Trial,
    dataset: GraphDataset,
    report: Callable[[Epoch], None],
    checkpoints: Checkpoints,
    parts: Sequence[str] = ("train", "val", "test"),
    start: Path | None = None,
) -> Outcome:
    """Trains, chooses the epoch by validation, then reads each of `parts` once. A loss that is not finite is a row.

    `start`: the run folder of the FP32 trial whose parameters training begins with.
    """
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
        streams = make_streams(config, trial)
        model = build_model(config, **asdict(shapes), generator=streams.noise).to(config.device)
        if start is not None:
            load_parameters(start / MODEL, model)
        try:
            norm_batch = make_norm_batch(data, config, trial)
            result = train(model, data, task, config, streams, report, checkpoints, norm_batch)
            for part in parts:
                measured[f"{part}_metric"] = evaluate(model, data.batches(part), task)[1]
            if config.evaluate.engine == "integer" and "test" in parts:
                measured |= asdict(evaluate_integer(model, data.batches("test"), task))
        except TrialFailed as error:
            measured = {"reason": str(error)}
    seconds = time.perf_counter() - started + checkpoints.earlier_seconds
    row = make_row(config, trial, result, model, measured, memory.bytes(), seconds)
    row = replace(row, started_from="" if start is None else start.name, data_fingerprint=data_fingerprint(dataset))
    return Outcome(row, result, model, shapes, data.rule, log=measured.get("reason", ""))


def make_streams(config: RunConfig, trial: Trial) -> Streams:
    """The trial's generators; batches are shuffled, and noise is seeded, on the CPU."""
    return Streams(
        shuffle=seeding.generator(trial.seed, seeding.SHUFFLE),
        protection=seeding.generator(trial.seed, seeding.PROTECTION, config.device),
        noise=seeding.generator(trial.seed, seeding.NOISE),
    )


def failed(config: RunConfig, trial: Trial, reason: str, log: str) -> Outcome:
    """The outcome of a trial that ended without a result, for a reason in one line; `log` tells more."""
    row = make_row(config, trial, Fit(), None, {"reason": reason}, None, 0.0)
    return Outcome(row, Fit(), None, None, None, log)


def train(
    model: GNN,
    data: TrialData,
    task: Task,
    config: RunConfig,
    streams: Streams,
    report: Callable[[Epoch], None],
    checkpoints: Checkpoints,
    norm_batch: Batch | None,
) -> Fit:
    """Fits the network by the run's method and leaves it in the state that validation chose."""
    method = canonical(config).method
    if method.post_training:
        set_phase(model, Phase.BYPASS)
    result = fit(
        model,
        data.train_batches,
        lambda: data.batches("val"),
        task,
        config.own_train,
        streams,
        make_protection(config),
        report,
        checkpoints,
        method.delay_epochs,
        method.observe_epochs,
        norm_batch,
    )
    model.load_state_dict(result.state)
    if method.post_training:
        calibrate(model, data.batches("train"))
        if norm_batch is not None:
            reestimate_norms(model, norm_batch)
    return result


def make_norm_batch(data: TrialData, config: RunConfig, trial: Trial) -> Batch | None:
    """The graphs that batch norms get their statistics from, or None where these are averages over training."""
    count = canonical(config).train.bn_reestimation
    return data.sample(count, seeding.generator(trial.seed, seeding.NORMS)) if count else None


def make_protection(config: RunConfig) -> Protection | None:
    """Degree-Quant's protection, or None where the method or FP32 has none."""
    protection = config.method.protection
    if not protection.enabled or protection.p_max == 0 or config.quant.is_fp32:
        return None
    return Protection(protection.p_min, protection.p_max, config.model.layers if protection.per_layer else 1)


def make_row(
    config: RunConfig,
    trial: Trial,
    result: Fit,
    model: GNN | None,
    measured: dict[str, Any],
    peak_bytes: int | None,
    seconds: float,
) -> Row:
    """The trial's row; `measured` holds the three metrics, or the reason of a failure."""
    effective, task = canonical(config), Task(config.dataset.task)
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
        parameters=None if model is None else sum(parameter.numel() for parameter in model.parameters()),
        device=config.device,
        threads=torch.get_num_threads(),
        config_hash=trial_hash(config, trial, mark),
        git_revision=git_revision(),
        **versions(),
        finished_utc=datetime.now(UTC).isoformat(timespec="milliseconds"),
        cell_hash=cell_hash(config, mark),
        test_metric_integer=measured.get("test_metric_integer"),
        integer_agreement=measured.get("integer_agreement"),
        integer_agreement_float32=measured.get("integer_agreement_float32"),
        processor=processor(),
        **hyperparameters(config),
        tags=" ".join(config.tags),
        notes=config.notes,
    )


def placed(outcome: Outcome, results: Results) -> Outcome:
    """The outcome with the name of the folder that its trial gets; for the holder of the trial's lock."""
    name = results.place(outcome.row.run_id, outcome.row.config_hash)
    return replace(outcome, row=replace(outcome.row, run_id=name, log=f"runs/{name}/{LOG}" if outcome.log else ""))


def record(outcome: Outcome, config: RunConfig, results: Results) -> None:
    """Writes a trial's folder; raises TrialFailed on a full disk."""
    row = outcome.row
    with results.writing(row.run_id) as folder:
        write_config(folder / "config.yaml", config)
        history = pd.DataFrame([asdict(epoch) for epoch in outcome.result.history])
        history.to_csv(folder / "history.csv", index=False, encoding="utf-8")
        if outcome.log:
            (folder / LOG).write_text(f"{outcome.log.rstrip()}\n", encoding="utf-8", errors="backslashreplace")
        if outcome.model is not None and row.status == "done":
            assert outcome.shapes is not None and outcome.features is not None
            save_model(folder / MODEL, outcome.model, config, outcome.shapes, outcome.features)
        write_row(folder, row)


def write_config(path: Path, config: RunConfig) -> None:
    """The resolved configuration as YAML."""
    write_text(path, OmegaConf.to_yaml(OmegaConf.structured(config)))


@contextmanager
def forked_rng(seed: int) -> Iterator[None]:
    """Seeds torch's global generators (initial weights, dropout) and puts their state back afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
