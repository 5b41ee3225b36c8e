"""One trial: `run_trial` takes a configuration and gives an `Outcome`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from dqrun import kernels
from dqrun.config import RunConfig
from dqrun.data.dataset import GraphDataset
from dqrun.data.fingerprint import data_fingerprint
from dqrun.data.splits import split_for
from dqrun.data.trial_data import TrialData
from dqrun.errors import DqrunError, TrialFailed
from dqrun.graphs import Batch
from dqrun.integer.lower import require_program
from dqrun.methods import make_method
from dqrun.nn import GNN
from dqrun.nn.build import build_model, reads_edge_features, reads_edge_weights, uses_self_loops
from dqrun.ranks.alone import ALONE, Ranks
from dqrun.runs.model_file import Shapes, load_parameters
from dqrun.runs.outcome import Outcome, make_row
from dqrun.runs.protocol import Trial, canonical
from dqrun.runs.provenance import PeakMemory
from dqrun.runs.store import MODEL
from dqrun.training import seeding
from dqrun.training.cost_columns import recorded_costs, search_costs
from dqrun.training.course import Course
from dqrun.training.integer_evaluation import evaluate_integer
from dqrun.training.judging import baseline, recorded_metrics
from dqrun.training.loop import evaluate, fit, require_finite
from dqrun.training.metrics import Collected
from dqrun.training.problem import Problem
from dqrun.training.seeding import Streams
from dqrun.training.state import Epoch, Fit, Reporting, Watcher
from dqrun.training.tasks import Task

PART_NAMES = {"train": "training", "val": "validation", "test": "test"}


def run_trial(
    config: RunConfig,
    trial: Trial,
    dataset: GraphDataset,
    report: Callable[[Epoch], None],
    checkpoints: Watcher,
    parts: Sequence[str] = ("train", "val", "test"),
    start: Path | None = None,
    began: float | None = None,
    ranks: Ranks = ALONE,
) -> Outcome:
    """Trains, chooses the epoch by validation, then reads each of `parts` once.

    A loss or metric that is not finite makes a failed trial, which has a row as well. `seconds` of the row: training
    and the evaluation of `parts`, including earlier processes of an interrupted trial; `setup_seconds`: all other time
    since `began`, that is data, features, network, warm-up and the integer program.

    `start`: the run folder of the FP32 trial whose parameters training starts from. `began`: when work on the trial
    began, by `time.perf_counter`; None: now. `ranks`: the processes that train together. All of them call this
    function; times, memory and costs are those of the process that records the row.
    """
    began = time.perf_counter() if began is None else began
    task, split = Task.of(config.dataset), split_for(dataset, config.protocol, trial.fold)
    with kernels.use(config.kernels), kernels.ran() as ran, forked_rng(trial.seed):
        data = TrialData.build(
            dataset,
            split,
            config.dataset,
            config.train.batch_size,
            uses_self_loops(config.model),
            config.device,
            reads_edge_weights(config.model),
            reads_edge_features(config.model),
            canonical(config).loader,
        )
        data.require_shared_batches(ranks.size)
        shapes = Shapes(**data.shapes)
        warm_up(config, trial, data, shapes)
        streams, model = make_network(config, trial, shapes)
        if config.evaluate.engine == "integer":
            require_program(model)
        if start is not None:
            load_parameters(start / MODEL, model)
        problem = Problem.of(data, task, make_norm_batch(data, config, trial), ranks)
        method, watcher = make_method(config, model.num_layers), Reporting(report, checkpoints)
        course = Course.of(method, config.own_train)
        measured: dict[str, Any] = {"started_from": "" if start is None else start.name}
        result, memory, rows = Fit(), PeakMemory(config.device), Collected()
        started = time.perf_counter()
        with failing(measured):
            result = fit(model, method, problem, course, streams, watcher)
            for part in parts:
                loss, metric = evaluate(model, data.judged(part), task, rows if part == "test" else None, ranks)
                require_finite(PART_NAMES[part], loss, metric)
                measured[f"{part}_metric"] = metric
        here = time.perf_counter() - started
        measured["peak_bytes"] = memory.bytes()
        if measured.get("test_metric") is not None:
            measured |= recorded_metrics(task, rows, measured["test_metric"])
            measured["baseline"] = baseline(task, data.targets("train"), data.targets("test"), data.out_channels)
        if "reason" not in measured:
            measured |= recorded_costs(model, data, parts[-1]) | search_costs(course, result)
        if config.evaluate.engine == "integer" and "test" in parts and "reason" not in measured:
            with failing(measured):
                measured |= asdict(evaluate_integer(model, data.judged("test"), task))
    used = replace(dataset, packed=data.rule.structure(dataset, self_loops=False))
    measured |= {"data_fingerprint": data_fingerprint(used), "kernels": ran.name}
    measured["seconds"] = here + checkpoints.earlier_seconds
    measured["setup_seconds"] = time.perf_counter() - began - here
    row = make_row(config, trial, result, model, measured)
    return Outcome(row, result, model, shapes, data.rule, row.reason, checkpoints.end_state)


@contextmanager
def failing(measured: dict[str, Any]) -> Iterator[None]:
    """Records the reason of a failure inside the block in `measured`, without any metric."""
    try:
        yield
    except TrialFailed as error:
        for name in PART_NAMES:
            measured.pop(f"{name}_metric", None)
        measured["reason"] = str(error)


def warm_up(config: RunConfig, trial: Trial, data: TrialData, shapes: Shapes) -> None:
    """Trains and evaluates a network like the trial's on one batch and discards it.

    The first steps of a process also compile kernels and start threads. That happens here, so that the time of a trial
    does not depend on which trials ran before. Each stage of the method has one epoch, so that all kernels run. Random
    streams and network are separate from the trial's.
    """
    head, task = data.head(), Task.of(config.dataset)
    with forked_rng(trial.seed), suppress(DqrunError):  # the trial itself will report the error
        streams, model = make_network(config, trial, shapes)
        problem = Problem.of(head, task, make_norm_batch(head, config, trial))
        method = make_method(config, model.num_layers)
        fit(model, method, problem, Course.of(method, config.own_train).rehearsal(), streams, Watcher())
        evaluate(model, head.judged("test"), task)


def make_network(config: RunConfig, trial: Trial, shapes: Shapes) -> tuple[Streams, GNN]:
    """The trial's generators, and its network with weights drawn from torch's global generator."""
    streams = Streams.of_seed(trial.seed, config.device)
    return streams, build_model(config, **asdict(shapes), generator=streams.noise).to(config.device)


def make_norm_batch(data: TrialData, config: RunConfig, trial: Trial) -> Batch | None:
    """The graphs from which batch norms get their statistics, or None if they use running averages of training."""
    count = canonical(config).train.bn_reestimation
    return data.sample(count, seeding.generator(trial.seed, seeding.NORMS)) if count else None


@contextmanager
def forked_rng(seed: int) -> Iterator[None]:
    """Seeds torch's global generators (initial weights, dropout) inside the block and restores their state after it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
