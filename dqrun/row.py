"""`Row`: what is recorded of a trial."""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """One trial in `trials.csv`, in the order of its columns. None becomes an empty cell."""

    run_id: str  # name of the folder under runs/
    dataset: str
    task: str  # node_classification, graph_classification, graph_regression
    model: str
    quant: str  # fp32, int8, int4, w4a8, ...
    weight_bits: int | None  # empty: FP32
    activation_bits: int | None
    method: str  # naive, noisy, dq, ptq; none at FP32
    estimator: str  # ste, clipped, clipped_ends; empty at FP32
    observer: str  # of activations, e.g. minmax-average(0.01), percentile(0.001)-widen; empty at FP32
    p_min: float | None  # protection, empty when there is none
    p_max: float | None
    plan: str  # paper, integer, ...; none at FP32
    protocol: str  # seeds, kfold
    seed: int
    fold: int | None
    epochs: int  # trained
    best_epoch: int | None  # chosen by validation, counted from 1
    metric: str  # accuracy (fraction) or mae (target's unit)
    higher_is_better: bool
    train_metric: float | None  # at the chosen epoch, quantised as at test time
    val_metric: float | None
    test_metric: float | None  # read once
    status: str  # done, failed
    reason: str  # of the failure
    seconds: float  # wall time of the trial
    seconds_per_epoch: float | None  # median over the epochs, validation included
    peak_bytes: int | None  # largest resident memory of the process (cpu) or allocated memory (cuda) in the trial
    parameters: int | None  # number of trained parameters
    device: str
    threads: int
    config_hash: str  # of what determines the result, seed and fold included
    git_revision: str  # of dqrun, empty for an installed wheel
    dqrun_version: str
    torch_version: str
    pyg_version: str
    finished_utc: str  # ISO 8601
    cell_hash: str  # of the configuration without seed and fold; row.json and summary.csv only
    log: str = ""  # of a failed trial: the file under the results folder that tells more
    test_metric_integer: float | None = None  # test_metric of the integer program; empty: not asked for
    integer_agreement: float | None = None  # share of its test predictions that the network, in float64, has too
    integer_agreement_float32: float | None = None  # the same of the network in float32, as it was trained
    started_from: str = ""  # run_id of the FP32 trial whose parameters training began with; empty: drawn from the seed
    processor: str = ""  # name of the CPU's model; empty: the system does not say, or a row from before it was asked


TRIAL_COLUMNS = [field.name for field in fields(Row) if field.name != "cell_hash"]
"""Of trials.csv."""


def write_row(folder: Path, row: Row) -> None:
    """Writes row.json into a run folder."""
    (folder / "row.json").write_text(json.dumps(asdict(row), indent=1) + "\n")


def read_row(path: Path) -> dict[str, Any]:
    """A row.json, of this version or an older one; raises OSError, or ValueError for a file that is none."""
    row = json.loads(path.read_text())
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    missing = [field.name for field in fields(Row) if field.name not in row and field.default is MISSING]
    if missing:
        raise ValueError(f"it lacks {', '.join(missing)}")
    if "integer_agreement_float32" not in row:  # an older row, whose one agreement was with the network in float32
        row = row | {"integer_agreement": None, "integer_agreement_float32": row.get("integer_agreement")}
    return {field.name: field.default for field in fields(Row) if field.default is not MISSING} | row
