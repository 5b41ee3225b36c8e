"""One search: rounds of settings that Optuna suggests, and their validation metrics.

Optuna stores nothing: for each round, settings and results so far are put into a study in memory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dqrun.composition.compose import Job
from dqrun.config import ResultsConfig, RunConfig
from dqrun.config.search import Dimension
from dqrun.data.fingerprint import fingerprint
from dqrun.errors import ResultsError
from dqrun.extras import require
from dqrun.names import path_name
from dqrun.runs.protocol import canonical, cell_hash, named_trials, trials
from dqrun.runs.store import Results
from dqrun.training.tasks import Task
from dqrun.tune.rounds import Rounds, Settings
from dqrun.tune.space import values_of, with_values


@dataclass(frozen=True)
class Tried:
    """A trial of a study: settings, and the mean validation metric over the protocol's seeds or folds."""

    number: int
    values: dict[str, float]
    """By dotted field; empty for the first trial, which has the defaults."""
    value: float | None
    """None: it failed."""


class Search:
    """A study over one configuration. It continues an earlier study with equal configuration, space and protocol."""

    def __init__(
        self, job: Job, space: Sequence[Dimension], budget: int, folder: Path, bits_weight: float = 0.0
    ) -> None:
        """`bits_weight`: what a bit of the mean width of activations costs, in units of the metric."""
        self._optuna = require("optuna", "tune", "dqrun tune")
        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)
        self.job, self.space, self.budget, self.folder = job, list(space), budget, folder
        self.config = replace(job.config, results=ResultsConfig(dir=str(folder)))
        self.task = Task.of(self.config.dataset)
        self.bits_weight = bits_weight
        self.name = study_name(self.config, self.space, bits_weight)
        self.rounds = Rounds(folder, self.name, self.space)
        self._asked: list[Settings] = []
        self._ended: dict[int, Tried] = {}

    @property
    def objective(self) -> str:
        """The objective in words: the metric, with the term of `bits_weight` unless it is 0."""
        price = f" {'-' if self.task.higher_is_better else '+'} {self.bits_weight:g} average_bits"
        return self.task.metric + (price if self.bits_weight else "")

    @property
    def left(self) -> int:
        """Number of settings of the budget that were not asked for yet."""
        return max(0, self.budget - sum(self.rounds.sizes().values()))

    def ask(self, count: int, say: Callable[[str], None], complain: Callable[[str], None]) -> list[int]:
        """Numbers of the settings to try next: those without rows, else a new round of up to `count`.

        `say` gets lines about waiting for another process, `complain` lines about damaged files. Raises ResultsError.
        """
        with self.rounds.alone(say):
            known = self.rounds.read(complain)
            self._asked = [settings for of_round in known for settings in of_round]
            self._ended = {number: tried for number, tried in self._ended.items() if number < len(self._asked)}
            pending = [number for number in range(len(self._asked)) if self.look(number) is None]
            if pending:
                return pending
            lost = self.rounds.sizes().get(len(known), 0)
            size = lost or min(count, self.budget - len(self._asked))
            if size <= 0:
                return []
            self.rounds.write(len(known), new := self._suggest(size))
        self._asked += new
        return list(range(len(self._asked) - size, len(self._asked)))

    def _suggest(self, size: int) -> list[Settings]:
        """New settings, which depend only on earlier settings and their results."""
        optuna, known = self._optuna, len(self._asked)
        sign = "maximize" if self.task.higher_is_better else "minimize"
        study = optuna.create_study(direction=sign)
        ranges = {dimension.name: self._range(dimension) for dimension in self.space}
        states = optuna.trial.TrialState
        for tried, settings in zip(self.tried(), self._asked, strict=True):
            state = states.FAIL if tried.value is None else states.COMPLETE
            ended = optuna.trial.create_trial(params=settings, distributions=ranges, value=tried.value, state=state)
            study.add_trial(ended)
        new = []
        for number in range(known, known + size):
            if number == 0:
                study.enqueue_trial({dimension.name: dimension.default for dimension in self.space})
            startup = max(1, min(10, self.budget // 3))
            study.sampler = optuna.samplers.TPESampler(seed=number, n_startup_trials=startup)
            new.append(study.ask(ranges).params)
        return new

    def _range(self, dimension: Dimension) -> Any:
        """A dimension as a distribution of Optuna."""
        known = self._optuna.distributions
        if dimension.whole:
            return known.IntDistribution(int(dimension.low), int(dimension.high))
        return known.FloatDistribution(dimension.low, dimension.high, log=dimension.log)

    def values(self, number: int) -> dict[str, float]:
        """Field values of settings; {} for the first, which are the unrounded defaults."""
        return values_of(self.space, self._asked[number], self.config) if number else {}

    def config_of(self, number: int) -> RunConfig:
        """The configuration of settings; its results folder is the search's folder."""
        config: RunConfig = with_values(self.config, self.values(number))
        config.validate()
        return config

    def look(self, number: int) -> Tried | None:
        """The result of settings from their rows: failed if a row failed; None while rows are missing."""
        if number not in self._ended:
            config = self.config_of(number)
            results, mark = Results(config.results.dir), fingerprint(config.dataset)
            rows = [results.row(name, own) for _, name, own in named_trials(config, mark)]
            found = [row for row in rows if row is not None]
            if len(found) < len(rows):
                return None
            failed = any(row["status"] != "done" for row in found)
            value = None if failed else sum(self._value(row) for row in found) / len(found)
            self._ended[number] = Tried(number, self.values(number), value)
        return self._ended[number]

    def _value(self, row: Mapping[str, Any]) -> float:
        """The validation metric of a finished trial, made worse by `bits_weight` times its average bits.

        Raises ResultsError if `bits_weight` is not 0 and the row has no average bits.
        """
        metric: float = row["val_metric"]
        if not self.bits_weight:
            return metric
        if row["average_bits"] is None:
            raise ResultsError(
                f"{row['run_id']} has no average_bits: --bits-weight needs networks whose costs are known"
            )
        sign = -1 if self.task.higher_is_better else 1
        return metric + sign * self.bits_weight * float(row["average_bits"])

    def tell(self, number: int) -> Tried:
        """The result of settings after their training; raises ResultsError if a row is missing."""
        tried = self.look(number)
        if tried is None:
            raise ResultsError(f"trial {number} of {self.name} could not be recorded in {self.folder}")
        return tried

    def tried(self) -> list[Tried]:
        """All settings that have ended."""
        looked = [self.look(number) for number in range(len(self._asked))]
        return [tried for tried in looked if tried is not None]

    def best(self) -> Tried | None:
        """The settings with the best objective, the first of equals; None if all have failed."""
        sign = -1 if self.task.higher_is_better else 1
        found = [tried for tried in self.tried() if tried.value is not None]
        return min(found, key=lambda tried: (sign * (tried.value or 0.0), tried.number), default=None)


def study_name(config: RunConfig, space: Sequence[Dimension], bits_weight: float) -> str:
    """A readable name that ends in a hash of everything that determines the result of a search."""
    parts = {
        "cell": cell_hash(config, fingerprint(config.dataset)),
        "trials": [asdict(trial) for trial in trials(config.protocol)],
        "space": [asdict(dimension) for dimension in space],
        "bits_weight": bits_weight,
    }
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]
    words = [config.dataset.name, config.model.name, config.quant.label, canonical(config).method.name, digest]
    return path_name("_".join(words)).replace("-", "_")
