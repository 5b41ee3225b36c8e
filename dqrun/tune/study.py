"""One search: an Optuna study in an SQLite file, asked for settings and told what validation says of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dqrun.compose import Job
from dqrun.config import ResultsConfig, RunConfig
from dqrun.data.fingerprint import fingerprint
from dqrun.extras import require
from dqrun.names import path_name
from dqrun.protocol import canonical, cell_hash, named_trials, trials
from dqrun.results import Results
from dqrun.tasks import Task
from dqrun.tune.space import Dimension, values_of, with_values

DATABASE = "studies.db"


@dataclass(frozen=True)
class Tried:
    """A trial of a study: settings, and the mean validation metric over the protocol's seeds or folds."""

    number: int
    values: dict[str, float]
    """By dotted field; empty for the first, which is the default."""
    value: float | None
    """None: it failed."""


class Search:
    """A study over one configuration. Equal configuration, space and protocol: the same study, which goes on."""

    def __init__(self, job: Job, space: Sequence[Dimension], budget: int, folder: Path) -> None:
        optuna = require("optuna", "tune", "dqrun tune")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.job, self.space, self.budget, self._optuna = job, list(space), budget, optuna
        self.config = replace(job.config, results=ResultsConfig(dir=str(folder)))
        self.task = Task(self.config.dataset.task)
        self.name = study_name(self.config, self.space)
        self.storage = folder / DATABASE
        folder.mkdir(parents=True, exist_ok=True)
        self._study: Any = optuna.create_study(
            storage=f"sqlite:///{self.storage}",
            study_name=self.name,
            direction="maximize" if self.task.higher_is_better else "minimize",
            load_if_exists=True,
        )

    @property
    def left(self) -> int:
        """Trials of the budget that are not asked for yet."""
        return max(0, self.budget - len(self._study.trials))

    def ask(self, count: int) -> list[int]:
        """Numbers of the trials to run next: those that were interrupted, else up to `count` new ones.

        Suggestions depend on the trials so far alone, so that a search that was stopped goes on as if it had not been.
        """
        running = [t.number for t in self._study.trials if t.state == self._optuna.trial.TrialState.RUNNING]
        return running or [self._ask_one() for _ in range(min(count, self.left))]

    def _ask_one(self) -> int:
        so_far = len(self._study.trials)
        self._study.sampler = self._optuna.samplers.TPESampler(
            seed=so_far, n_startup_trials=max(1, min(10, self.budget // 3))
        )
        if so_far == 0:
            self._study.enqueue_trial({dimension.name: dimension.default for dimension in self.space})
        trial = self._study.ask()
        for dimension in self.space:
            trial.suggest_float(dimension.name, dimension.low, dimension.high, log=dimension.log)
        number: int = trial.number
        return number

    def values(self, number: int) -> dict[str, float]:
        """Field values of a trial; none for the first, which is the default to the last digit."""
        if number == 0:
            return {}
        return values_of(self.space, self._study.trials[number].params, self.config)

    def config_of(self, number: int) -> RunConfig:
        """The configuration of a trial; its rows go to the search's own folder."""
        config: RunConfig = with_values(self.config, self.values(number))
        config.validate()
        return config

    def tell(self, number: int) -> Tried:
        """Reads a trial's rows and passes their mean validation metric on; a failed row makes a failed trial."""
        config = self.config_of(number)
        results, mark = Results(config.results.dir), fingerprint(config.dataset)
        rows = [results.row(name, own) for _, name, own in named_trials(config, mark)]
        found = [row["val_metric"] for row in rows if row is not None and row["status"] == "done"]
        value = sum(found) / len(found) if len(found) == len(rows) else None
        state = self._optuna.trial.TrialState.FAIL if value is None else None
        self._study.tell(number, value, state=state, skip_if_finished=True)
        return Tried(number, self.values(number), value)

    def tried(self) -> list[Tried]:
        """All trials that have ended."""
        ended = [trial for trial in self._study.trials if trial.state.is_finished()]
        return [Tried(trial.number, self.values(trial.number), trial.value) for trial in ended]

    def best(self) -> Tried | None:
        """The trial with the best validation metric, the first of equals; None when all have failed."""
        sign = -1 if self.task.higher_is_better else 1
        found = [tried for tried in self.tried() if tried.value is not None]
        return min(found, key=lambda tried: (sign * (tried.value or 0.0), tried.number), default=None)


def study_name(config: RunConfig, space: Sequence[Dimension]) -> str:
    """A readable name, unique by a hash of what determines what a search finds."""
    parts = {
        "cell": cell_hash(config, fingerprint(config.dataset)),
        "trials": [asdict(trial) for trial in trials(config.protocol)],
        "space": [asdict(dimension) for dimension in space],
    }
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]
    words = [config.dataset.name, config.model.name, config.quant.label, canonical(config).method.name, digest]
    return path_name("_".join(words)).replace("-", "_")
