"""`Row`: the record of a trial, its strict reader, and the rule that decides whether two rows are of the same trial."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from enum import Enum
from operator import attrgetter
from pathlib import Path
from typing import Any

from dqrun.config import RunConfig
from dqrun.config.parts import has_field
from dqrun.durable import write_text
from dqrun.errors import ConfigError
from dqrun.runs.protocol import canonical
from dqrun.runs.records import check_types, read_json, short, typed


@dataclass(frozen=True, kw_only=True)
class Row:
    """One trial in `trials.csv`, in the order of its columns. None becomes an empty cell."""

    run_id: str  # name of the folder under runs/
    dataset: str
    task: str  # node_classification, graph_regression, ..., see dqrun.config.tasks
    model: str
    quant: str  # fp32, int8, int4, w4a8, ...
    weight_bits: int | None  # empty: FP32
    activation_bits: int | None
    method: str  # name of the method or of its preset; none at FP32
    estimator: str  # ste, clipped, clipped_ends; empty at FP32
    observer: str  # of activations, e.g. minmax-ema(0.01), percentile(0.001)-running_minmax; empty at FP32
    p_min: float | None  # protection, empty when there is none
    p_max: float | None
    plan: str  # paper, integer, ...; none at FP32
    protocol: str  # seeds, kfold
    seed: int
    fold: int | None
    epochs: int  # trained
    best_epoch: int | None  # chosen by validation, counted from 1
    metric: str  # the deciding one, of train_metric, val_metric, test_metric: accuracy, mae, ...
    higher_is_better: bool
    train_metric: float | None  # at the chosen epoch, with all quantisers active
    val_metric: float | None
    test_metric: float | None  # read once
    status: str  # done, failed
    reason: str  # of the failure
    seconds: float  # wall time of training and of evaluation, without setup_seconds
    seconds_per_epoch: float | None  # median over the epochs, validation included
    peak_bytes: int | None  # most memory in use in the trial; empty where it was not measured
    parameters: int | None  # number of trained parameters
    device: str
    threads: int  # of each process
    config_hash: str  # hash of all that determines the result, with seed and fold
    git_revision: str  # of dqrun, empty for an installed wheel
    dqrun_version: str  # and of the plug-ins that the trial used, by name
    torch_version: str
    pyg_version: str
    finished_utc: str  # ISO 8601
    log: str = ""  # of a failed trial: the file under the results folder that tells more
    test_metric_integer: float | None = None  # test_metric of the integer program; empty: not asked for
    integer_agreement: float | None = None  # share of equal predictions on test data, network in float64
    integer_agreement_float32: float | None = None  # the same, network in float32, as it was trained
    baseline: float | None = None  # test_metric of the best constant prediction; empty: not defined
    accuracy: float | None = None  # this and the next eight: on test data, where they fit the task
    balanced_accuracy: float | None = None
    f1_macro: float | None = None
    f1_micro: float | None = None
    roc_auc: float | None = None
    average_precision: float | None = None
    mae: float | None = None
    rmse: float | None = None
    r2: float | None = None
    average_bits: float | None = None  # mean width of the activations that operations read; empty: not known
    model_bytes: float | None = None  # parameters, at their widths
    bit_operations: float | None = None  # of a forward pass over the mean graph: MACs x mean width of the operands
    search_epochs: int | None = None  # part of `epochs` that searched widths before training began anew; empty: none
    search_seconds: float | None = None  # of `seconds`
    started_from: str = ""  # run_id of the FP32 trial of a warm start; empty: weights drawn from the seed
    processor: str = ""  # name of the CPU's model; empty: the system does not say
    kernels: str = ""  # kernels that ran: cpu (compiled), reference (plain torch), mixed
    setup_seconds: float | None = None  # other wall time of the trial: data, compilation, warm-up
    data_fingerprint: str = ""  # of the content of the data
    processes: int = 1  # processes that trained together, each with a part of every batch
    cell_hash: str  # hash of the configuration and the data, without seed and fold
    layers: int | None = None  # this and what follows: hyper-parameters, see HYPERPARAMETERS
    hidden: int | None = None
    heads: int | None = None
    mlp_layers: int | None = None
    norm: str = ""
    residual: bool | None = None
    dropout: float | None = None
    lr: float | None = None
    weight_decay: float | None = None
    max_epochs: int | None = None
    batch_size: int | None = None
    schedule: str = ""
    bn_reestimation: int | None = None
    learned_scale: bool | None = None
    warm_start: str = ""
    tags: str = ""  # the user's words, separated by spaces
    notes: str = ""  # the user's text


HYPERPARAMETERS = {
    "layers": "model.layers", "hidden": "model.hidden", "heads": "model.heads", "mlp_layers": "model.mlp_layers",
    "norm": "model.norm", "residual": "model.residual", "dropout": "model.dropout", "lr": "train.lr",
    "weight_decay": "train.weight_decay", "max_epochs": "train.epochs", "batch_size": "train.batch_size",
    "schedule": "train.schedule.name", "bn_reestimation": "train.bn_reestimation",
    "warm_start": "train.warm_start",
}  # fmt: skip
"""Columns that repeat a field of the configuration, so that a table can be grouped by them."""

OF_METHOD = {"method": "none", "estimator": "", "observer": "", "p_min": None, "p_max": None, "learned_scale": False}
"""Columns that a method's configuration gives, with their values where it gives none."""

TRIAL_COLUMNS = [field.name for field in fields(Row)]
"""Columns of trials.csv."""


def with_tags(row: Mapping[str, Any], add: Sequence[str], drop: Sequence[str] = ()) -> dict[str, Any]:
    """A copy of the row with changed tags, without repetitions."""
    tags = [tag for tag in dict.fromkeys([*row["tags"].split(), *add]) if tag not in drop]
    return {**row, "tags": " ".join(tags)}


ENVIRONMENT = (
    "device",
    "threads",
    "processes",
    "kernels",
    "processor",
    "git_revision",
    "dqrun_version",
    "torch_version",
    "pyg_version",
)
"""Columns of the environment: it may change the last bits of a result, and does not make another trial."""

RESULT = ("status", "epochs", "best_epoch", "train_metric", "val_metric", "test_metric")
"""Columns that are equal in two rows of one trial from one environment; time and memory may differ."""

_PATH_NAME = re.compile(r"[^\x00-\x1f/\\.][^\x00-\x1f/\\]{0,254}")
_HASH = re.compile(r"[0-9A-Za-z][\w.-]{0,63}", re.ASCII)


class Kinship(Enum):
    """How two rows are related; see `kinship`."""

    OTHER = "other trials"
    EQUAL = "the same result"
    REPLICATES = "one trial in two environments"
    CONFLICT = "one trial in one environment with two results"


def environment(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """The machine and software of a row: its values of ENVIRONMENT."""
    return tuple(row[name] for name in ENVIRONMENT)


def kinship(one: Mapping[str, Any], other: Mapping[str, Any]) -> Kinship:
    """How two checked rows are related.

    A trial is a configuration without incidental fields, its data, a seed and a fold: `config_hash` stands for all of
    them. Numbers of threads and processes, device, kernels and versions may change the order of sums and so their
    rounding. They do not make another trial, or machines with different numbers of cores could not share a folder.
    Different results from different environments both count, as replicates. Different results of one trial from one
    environment are a conflict.
    """
    if one["config_hash"] != other["config_hash"]:
        return Kinship.OTHER
    if all(one[name] == other[name] for name in RESULT):
        return Kinship.EQUAL
    return Kinship.CONFLICT if environment(one) == environment(other) else Kinship.REPLICATES


def hyperparameters(config: RunConfig) -> dict[str, Any]:
    """The columns of OF_METHOD and HYPERPARAMETERS, without settings that have no effect."""
    effective = canonical(config)
    effective = replace(effective, train=effective.own_train)
    unused = {f"model.{name}" for name in vars(effective.model) if not has_field(effective.model, name)}
    columns = {} if config.quant.is_fp32 else effective.method.columns()
    if unknown := sorted(columns.keys() - OF_METHOD.keys()):
        raise ConfigError.rule("columns() of a method", f"be of {', '.join(OF_METHOD)}", ", ".join(unknown))
    fields = {column: attrgetter(name)(effective) for column, name in HYPERPARAMETERS.items() if name not in unused}
    return OF_METHOD | columns | fields


def write_row(folder: Path, row: Row) -> None:
    """Writes row.json into a run folder; raises ValueError for a row that `read_row` would refuse."""
    text = json.dumps(check_row(asdict(row)), indent=1, allow_nan=False)
    write_text(folder / "row.json", f"{text}\n")


def read_row(path: Path) -> dict[str, Any]:
    """The row of a run folder's row.json; raises OSError, or ValueError in one line for a file that holds none."""
    checked = check_row(read_json(path))
    if checked["run_id"] != path.parent.name:
        raise ValueError(f"its run_id is that of another folder, {short(checked['run_id'])}")
    return checked


def row_of_cells(cells: Mapping[str, str]) -> dict[str, Any]:
    """The checked row of a line of trials.csv, given as text by column; raises ValueError as `check_row` does."""
    return check_row(typed(Row, cells))


def check_row(row: object) -> dict[str, Any]:
    """A row with a value for each column of `Row`, in its order; raises ValueError, in one line, for anything else."""
    checked = check_types(Row, row)
    assert isinstance(row, dict)
    if missing := [name for name in TRIAL_COLUMNS if name not in row]:  # a row of older code, or a damaged one
        raise ValueError(f"it lacks {', '.join(missing)}")
    _check_rules(checked)
    return checked


def _check_rules(row: dict[str, Any]) -> None:
    """Rules beyond the types of the columns."""

    def require(ok: bool, name: str, rule: str) -> None:
        if not ok:
            raise ValueError(f"{name} must {rule}, got {short(row[name])}")

    require(_PATH_NAME.fullmatch(row["run_id"]) is not None, "run_id", "be the name of a folder")
    for name in ("config_hash", "cell_hash"):
        require(_HASH.fullmatch(row[name]) is not None, name, "be a hash")
    require(row["status"] in ("done", "failed"), "status", "be done or failed")
    if row["status"] == "done":
        require(row["val_metric"] is not None, "val_metric", "be a number in a finished trial")
    for name in ("seed", "fold", "epochs", "best_epoch", "seconds", "peak_bytes", "parameters", "threads"):
        require(row[name] is None or row[name] >= 0, name, "be >= 0")
    for name in ("weight_bits", "activation_bits"):
        require(row[name] is None or 1 <= row[name] <= 32, name, "be in 1..32 or null")
    try:
        datetime.fromisoformat(row["finished_utc"])
    except ValueError:
        require(False, "finished_utc", "be a time in ISO 8601")
