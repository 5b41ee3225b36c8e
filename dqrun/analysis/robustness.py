"""The loss of a trained network's metric with perturbed input or weights (as in BiBench's robustness track: Qin et al.,
ICML 2023; flipped bits: Kummer et al., KDD 2024). Imports torch."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TextIO

import torch

from dqrun.analysis.networks import Datasets
from dqrun.analysis.perturbation import PERTURBATIONS, WeightBits
from dqrun.analysis.rows import Run
from dqrun.data.trial_data import TrialData
from dqrun.errors import ConfigError
from dqrun.graphs import Batch
from dqrun.nn import GNN
from dqrun.runs.model_file import load_model, require_data
from dqrun.runs.store import MODEL
from dqrun.training.loop import evaluate
from dqrun.training.tasks import Task


@dataclass(frozen=True)
class Exposure:
    """The perturbations: rates of wrong edges and features, amounts of flipped bits (below 1 a share), `draws` of each.

    `seed`: of the draws; they are the same for all runs of equal size. `part`: train, val or test.
    """

    edges: tuple[float, ...] = ()
    features: tuple[float, ...] = ()
    flips: tuple[float, ...] = ()
    draws: int = 5
    seed: int = 0
    part: str = "test"


@dataclass(frozen=True)
class Finding:
    """A line of the table: the metric of a run under one perturbation. `clean`: without it; `std`: over draws."""

    run: str
    dataset: str
    model: str
    quant: str
    method: str
    perturbation: str
    amount: float
    flipped_bits: int | None
    weight_bits: int | None
    metric: str
    clean: float
    mean: float
    std: float
    draws: int


class Subject:
    """A run's network and data, loaded once. Raises DataError or ConfigError if they are missing."""

    def __init__(self, run: Run, datasets: Datasets, part: str) -> None:
        self.run = run
        self.model, config = load_model(run.folder / MODEL)
        self.task = Task.of(config.dataset)
        data: TrialData = datasets.trial(config, run.row.get("fold"))
        require_data(run.folder / MODEL, data.shapes)
        self.batches: list[Batch] = list(data.batches(part))
        self.clean = self.metric(self.batches)

    def metric(self, batches: Iterable[Batch]) -> float:
        """The network's metric on batches."""
        return evaluate(self.model, batches, self.task)[1]


def findings(run: Run, datasets: Datasets, exposure: Exposure) -> Iterator[Finding]:
    """The lines of a run, in the order of the exposure."""
    subject = Subject(run, datasets, exposure.part)
    for kind in ("edges", "features"):
        for rate in getattr(exposure, kind):
            yield _finding(subject, kind, rate, _perturbed(subject, kind, rate, exposure))
    if exposure.flips:
        bits = _weight_bits(subject.model, run)
        for amount in exposure.flips:
            number = bits.number(amount)
            yield _finding(
                subject, "weight_bits", amount, _flipped(subject, bits, number, exposure), number, bits.total
            )


def write_findings(stream: TextIO, found: Iterable[Finding]) -> None:
    """Writes findings as CSV, each as soon as it is computed."""
    writer = csv.DictWriter(stream, [field.name for field in fields(Finding)], lineterminator="\n")
    writer.writeheader()
    for line in found:
        writer.writerow(asdict(line))
        stream.flush()


def _weight_bits(model: GNN, run: Run) -> WeightBits:
    try:
        return WeightBits.of(model)
    except ConfigError as error:
        raise ConfigError(f"{run.row['run_id']}: {error}") from None


def _perturbed(subject: Subject, kind: str, rate: float, exposure: Exposure) -> list[float]:
    perturb, measured = PERTURBATIONS[kind], []
    for generator in _generators(exposure):
        measured.append(subject.metric([perturb(batch, rate, generator) for batch in subject.batches]))
    return measured


def _flipped(subject: Subject, bits: WeightBits, number: int, exposure: Exposure) -> list[float]:
    measured = []
    for generator in _generators(exposure):
        with bits.flipped(number, generator):
            measured.append(subject.metric(subject.batches))
    return measured


def _generators(exposure: Exposure) -> Iterator[torch.Generator]:
    """One for each draw."""
    for draw in range(exposure.draws):
        yield torch.Generator().manual_seed(exposure.seed + draw)


def _finding(
    subject: Subject,
    kind: str,
    amount: float,
    measured: Sequence[float],
    flipped_bits: int | None = None,
    weight_bits: int | None = None,
) -> Finding:
    row = subject.run.row
    return Finding(
        run=str(row["run_id"]),
        **{name: str(row[name]) for name in ("dataset", "model", "quant", "method")},
        perturbation=kind,
        amount=amount,
        flipped_bits=flipped_bits,
        weight_bits=weight_bits,
        metric=subject.task.metric,
        clean=round(subject.clean, 6),
        mean=round(statistics.fmean(measured), 6),
        std=round(statistics.stdev(measured), 6) if len(measured) > 1 else 0.0,
        draws=len(measured),
    )
