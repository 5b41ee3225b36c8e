"""`dqrun.results` and `dqrun.load_model`: what trials left."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dqrun.api.errors import one_line

if TYPE_CHECKING:
    import pandas as pd

    from dqrun.runs.network import TrainedNetwork

Place = str | os.PathLike[str]


def results(folders: Place | Sequence[Place] = "results", *filters: str, fields: Sequence[str] = ()) -> pd.DataFrame:
    """Rows of finished and failed trials, oldest first, with the columns of `trials.csv`.

    `folders`: results folders and studies; of a trial that is in several, one row counts, as in `dqrun compare`.
    `filters`: conditions as there, `"quant=int4"`, `"model=gcn,gin"`, `"seed<5"`, `"train.lr>=0.01"`, which all must
    hold. `fields`: fields of the configuration, `"train.schedule.name"`, that become columns too. What is damaged and
    was not counted is warned of. Raises ResultsError for a folder without trials and for filters that leave none,
    ConfigError for unknown fields.
    """
    import pandas as pd

    from dqrun.analysis.rows import load_runs
    from dqrun.analysis.select import Filter, choose, require_fields
    from dqrun.runs.row import TRIAL_COLUMNS

    conditions = [Filter.parse(word) for word in filters]
    single = isinstance(folders, str | os.PathLike)
    places: Sequence[Place] = [folders] if single else folders  # type: ignore[assignment, list-item]
    with one_line():
        runs, complaints = load_runs([os.fspath(place) for place in places])
    for text in complaints:
        warnings.warn(text, stacklevel=2)
    require_fields("fields", fields, runs)
    chosen = choose(runs, conditions)
    columns = list(dict.fromkeys([*TRIAL_COLUMNS, *fields]))
    return pd.DataFrame([{name: run.value(name) for name in columns} for run in chosen], columns=columns)


def load_model(run: Place, results: Place = "results") -> TrainedNetwork:
    """The trained network of a run as an `nn.Module` in evaluation mode: `model(x, edge_index, batch)`.

    `run`: the path of a run's folder, or its name in the folder `results`. What it takes and gives: see
    `dqrun.runs.network.TrainedNetwork`; it is what `dqrun predict` gives. Reading the file runs no code. Raises
    ResultsError where there is no such run, DataError for a damaged file.
    """
    from dqrun.runs.folders import NETWORK, find_network
    from dqrun.runs.network import TrainedNetwork

    with one_line():
        return TrainedNetwork.load(find_network(os.fspath(run), Path(results)) / NETWORK)
