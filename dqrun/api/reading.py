"""`dqrun.results` and `dqrun.load_model`: the rows and the networks of trials."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dqrun.api.errors import one_line, require_path, require_words
from dqrun.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from dqrun.runs.network import TrainedNetwork

Place = str | os.PathLike[str]


def results(folders: Place | Sequence[Place] = "results", *filters: str, fields: Sequence[str] = ()) -> pd.DataFrame:
    """Rows of finished and failed trials, oldest first, with the columns of `trials.csv`.

    `folders`: results folders and studies; a trial that is in several of them counts once, as in `dqrun compare`.
    `filters`: conditions as there, `"quant=int4"`, `"model=gcn,gin"`, `"seed<5"`, `"train.lr>=0.01"`, which must all
    hold. `fields`: fields of the configuration, such as `"train.schedule.name"`, as additional columns. Warns of each
    damaged row, which is left out. Raises ResultsError for a folder without trials and for filters that leave no trial,
    ConfigError for unknown fields.
    """
    import pandas as pd

    from dqrun.analysis.rows import load_runs
    from dqrun.analysis.select import Filter, choose, require_fields
    from dqrun.runs.row import TRIAL_COLUMNS

    require_words("a filter", filters, "quant=int4")
    names = [fields] if isinstance(fields, str) else list(fields)
    require_words("fields", names, "train.lr")
    conditions = [Filter.parse(word) for word in filters]
    places = _places(folders)
    with one_line():
        runs, complaints = load_runs([os.fspath(place) for place in places])
    for text in complaints:
        warnings.warn(text, stacklevel=2)
    require_fields("fields", names, runs)
    chosen = choose(runs, conditions)
    columns = list(dict.fromkeys([*TRIAL_COLUMNS, *names]))
    return pd.DataFrame([{name: run.value(name) for name in columns} for run in chosen], columns=columns)


def _places(folders: Place | Sequence[Place]) -> Sequence[Place]:
    """The folders, at least one; raises ConfigError for values that are no paths, and for a filter among them."""
    from dqrun.analysis.select import split_words

    single = isinstance(folders, str | os.PathLike) or not isinstance(folders, Sequence)
    places: Sequence[Place] = [folders] if single else folders  # type: ignore[assignment, list-item]
    for place in places:
        require_path("folders", place)
    if not places:
        raise ConfigError.rule("folders", "name at least one results folder or study", places)
    _, filters = split_words([place for place in places if isinstance(place, str) and not os.path.exists(place)])
    if filters:
        rule = 'be folders, the first argument: dqrun.results("results", FILTER, ...)'
        raise ConfigError.rule("folders", rule, folders)
    return places


def load_model(run: Place, results: Place = "results") -> TrainedNetwork:
    """The trained network of a run as an `nn.Module` in evaluation mode: `model(x, edge_index, batch)`.

    `run`: the path of a run's folder, or its name in the folder `results`. Arguments and results of the network:
    `dqrun.runs.network.TrainedNetwork`; its predictions are those of `dqrun predict`. Reading the file runs no code.
    Raises ResultsError if there is no such run, DataError for a damaged file.
    """
    from dqrun.runs.folders import NETWORK, find_network
    from dqrun.runs.network import TrainedNetwork

    require_path("run", run)
    require_path("results", results)
    with one_line():
        return TrainedNetwork.load(find_network(os.fspath(run), Path(results)) / NETWORK)
