"""Brings published trials to the present form, schema and hashes: `python benchmarks/rehash.py STUDY...` in place.

`python benchmarks/rehash.py RESULTS... [FILTER...] -o STUDY` takes run folders that older code left and publishes them,
all or those that filters like `quant=int4` choose.

A field that a configuration lacks was added later, and a column that a row lacks was not recorded: CONFIG and ROW say
which value tells what such a trial did. Anything else that does not fit is an error. Metrics are never touched.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from dqrun.analysis.publish import publish, write_runs
from dqrun.analysis.rows import Configuration, Run, config_of
from dqrun.analysis.select import choose, split_words
from dqrun.analysis.study import CONFIGS, TRIALS, is_study, read_study
from dqrun.analysis.study_page import write_page
from dqrun.config import LoaderConfig, RunConfig
from dqrun.config.parts import part_type
from dqrun.config.tasks import METRIC_COLUMNS
from dqrun.data.fingerprint import fingerprint
from dqrun.errors import DqrunError, ResultsError
from dqrun.runs.protocol import Trial, cell_hash, run_id, trial_hash, warm_start_of
from dqrun.runs.row import check_row, hyperparameters

CONFIG: dict[str, tuple[Any, str]] = {
    "dataset.metric": ("auto", "accuracy or MAE decided, as the task says"),
    "dataset.edge_weights": (True, "there were no edge weights"),
    "dataset.edge_features": (True, "no layer read edge features"),
    "dataset.degree_statistics": ("training", "degrees were standardised by the training graphs"),
    "method.observer.percentile": ("symmetric", "both ends were of the same rank, each from its side"),
    "method.weight_observer.percentile": ("symmetric", "both ends were of the same rank, each from its side"),
    "method.collapsed_range": ("zero", "where a range held zero alone, all values became 0"),
    "method.learned_scale": (False, "there were no learned scales"),
    "method.delay_epochs": (0, "quantisation was on from the first epoch"),
    "method.observe_epochs": (0, "learned steps began with the first epoch that quantised"),
    "train.warm_start": ("none", "every trial began with parameters drawn from its seed"),
    "train.fine_tune": ({}, "there was no warm start to fine-tune after"),
    "train.bn_reestimation": (0, "batch norms had their running averages"),
    "plan.fp32": ([], "no site was made exact beyond the rules of the plan"),
    "quant.quantizer": (None, "the method's own quantisers stood at every site"),
    "quant.weight_granularity": ("tensor", "every weight had one scale"),
    "quant.activation_granularity": ("tensor", "every activation had one observed range"),
    "quant.row_offset": ("integer", "no row had a range of its own"),
    "quant.row_scale": ("real", "no row had a range of its own"),
    "quant.group_size": (32, "no part of a row had a range of its own"),
    "loader": (asdict(LoaderConfig()), "the one graph of a node task was one batch"),
    "processes": (1, "one process trained each trial"),
    "train.compress_gradients": ("none", "no gradients travelled"),
    "launcher.timeout": (300.0, "no process waited for another"),
    "plan.rules.*.headroom": (None, "ranges had no headroom"),
}
"""Fields that older configurations may lack: the value that describes their trials, and the reason."""

RENAMED: dict[str, tuple[str, dict[Any, Any]]] = {
    "method.step": ("method.learned_scale", {"observed": False, "learned": True}),
    "method.observer.update": (
        "method.observer.update",
        {"widen": "running_minmax", "average": "ema", "latest": "last_batch"},
    ),
    "method.weight_observer.update": (
        "method.weight_observer.update",
        {"widen": "running_minmax", "average": "ema", "latest": "last_batch"},
    ),
    "method.protection.exempt": ("method.protection.rounded_sites", {}),
    "plan.exact": ("plan.fp32", {}),
    "plan.rules.*.exact": ("plan.rules.*.fp32", {}),
}
"""Renamed fields: the present name, and the present values by the old ones."""

METHOD_FIELDS: dict[str, tuple[Any, str]] = {
    "post_training": (False, "method=ptq is a class of its own"),
    "noise_rate": (1.0, "only method=noisy leaves elements in FP32"),
    "protection": ({"enabled": False}, "only method=dq and its presets protect rows"),
    "learned_scale": (False, "nothing is learned after training"),
    "delay_epochs": (0, "training is in FP32 to its end"),
    "observe_epochs": (0, "nothing is learned after training"),
}
"""Fields of `method` that all methods had: the value without effect, and why some methods lack them now."""

KINDS = {"dq_released": "dq"}
"""The registered method of names that are names of presets."""

COLUMNS = {"step": ("learned_scale", {"observed": "False", "learned": "True"})}
"""Renamed columns: the present name, and the present values of cells by the old ones."""

OBSERVERS = {"-widen": "-running_minmax", "-average(": "-ema(", "-latest": "-last_batch"}
"""Renamed words in the column `observer`."""

ROW: dict[str, tuple[Any, str]] = {
    "log": ("", "logs of failed trials are not published"),
    "test_metric_integer": (None, "there were no integer programs"),
    "integer_agreement": (None, "there were no integer programs"),
    "integer_agreement_float32": (None, "there were no integer programs"),
    "processor": ("", "it was not recorded"),
    "kernels": ("", "which ran was not recorded"),
    "setup_seconds": (None, "it was not measured apart: `seconds` has it"),
    "data_fingerprint": ("", "it was not recorded"),
    "baseline": (None, "it was not computed"),
    **dict.fromkeys(METRIC_COLUMNS, (None, "one metric was recorded, which is in its column too")),
    **dict.fromkeys(("average_bits", "model_bytes", "bit_operations"), (None, "they were not recorded")),
    **dict.fromkeys(("search_epochs", "search_seconds"), (None, "no method searched widths")),
    "processes": (1, "one process trained each trial"),
    "tags": ("", "there were none"),
    "notes": ("", "there were none"),
}
"""Columns that older rows may lack: the value that describes their trials, and the reason."""


def converted(run: Run) -> Run:
    """The run with all present fields and columns, and the hashes by the present code."""
    config, trial = _config(json.dumps(run.config), run.configuration.path), Trial(run.row["seed"], run.row["fold"])
    mark = fingerprint(config.dataset)
    start = warm_start_of(config)
    row = {name: value for name, (value, _) in ROW.items()} | renamed(run.row) | hyperparameters(config)
    row |= {"cell_hash": cell_hash(config, mark), "config_hash": trial_hash(config, trial, mark)}
    row |= {"run_id": run_id(config, trial, mark), "started_from": run_id(start, trial, mark) if start else ""}
    return replace(run, row=check_row(row), own=Configuration(run.configuration.path, json.dumps(asdict(config))))


@cache
def _config(text: str, path: Path) -> RunConfig:
    """The configuration in the JSON `text`, after missing fields are added."""
    tree = json.loads(text)
    for old, (new, values) in RENAMED.items():
        _rename(tree, old.split("."), new.split("."), values)
    for name, (value, _) in CONFIG.items():
        _set_default(tree, name.split("."), value)
    _give_own_fields(tree["method"])
    return config_of(Run({}, path.parent, Configuration(path, json.dumps(tree))))


def _give_own_fields(method: dict[str, Any]) -> None:
    """Adds the kind of a method and removes the fields of other methods; raises ResultsError if one had an effect."""
    method.setdefault("kind", KINDS.get(method["name"], method["name"]))
    own = {field.name for field in fields(part_type("method", method["kind"]))}
    for name, (unused, _) in METHOD_FIELDS.items():
        if name in own or name not in method:
            continue
        value = method.pop(name)
        used = value["enabled"] if name == "protection" else value not in (unused, name == "post_training")
        if used:
            raise ResultsError(f"method.{name}={value} has no place in method={method['name']}")


def renamed(row: dict[str, Any]) -> dict[str, Any]:
    """The row with present names: columns of COLUMNS, words of OBSERVERS, and a column for its metric.

    integer_agreement of a row without integer_agreement_float32 becomes that column.
    """
    row = {COLUMNS.get(name, (name,))[0]: value for name, value in row.items()}
    if row["metric"] in METRIC_COLUMNS and row.get(row["metric"]) is None:
        row[row["metric"]] = row["test_metric"]
    for old, new in OBSERVERS.items():
        row["observer"] = row["observer"].replace(old, new)
    if "integer_agreement_float32" in row or "integer_agreement" not in row:
        return row
    return {**row, "integer_agreement": None, "integer_agreement_float32": row["integer_agreement"]}


def _rename(tree: dict[str, Any], old: Sequence[str], new: Sequence[str], values: dict[Any, Any]) -> None:
    name, *rest = old
    if rest:
        for part in tree.values() if name == "*" else [tree.get(name)]:
            if isinstance(part, dict):
                _rename(part, rest, new[1:], values)
    elif name in tree:
        value = tree.pop(name)
        tree[new[0]] = values.get(value, value) if isinstance(value, str) else value


def _set_default(tree: dict[str, Any], path: Sequence[str], value: Any) -> None:
    name, *rest = path
    if not rest:
        tree.setdefault(name, value)
        return
    for part in tree.values() if name == "*" else [tree.get(name)]:
        if isinstance(part, dict):
            _set_default(part, rest, value)


def raw_runs(folder: Path) -> list[Run]:
    """The rows and configurations of a study or of run folders, also if older code wrote them; not converted."""
    if is_study(folder):
        with tempfile.TemporaryDirectory() as place:
            study, complaints = read_study(_with_columns_of_today(folder, Path(place)))
        if complaints:
            raise ResultsError(complaints[0])
        return [
            Run(row, folder, Configuration(folder / CONFIGS, study.configs[row["cell_hash"]])) for row in study.rows
        ]
    return [Run(json.loads(path.read_bytes()), path.parent) for path in sorted(folder.glob("runs/*/row.json"))]


def _with_columns_of_today(folder: Path, copy: Path) -> Path:
    """Writes a copy of a study with present column names and with missing columns; returns the folder `copy`."""
    shutil.copy(folder / CONFIGS, copy)
    with (folder / TRIALS).open(encoding="utf-8", newline="") as source:
        lines = list(csv.reader(source))
    header = lines[0]
    for i, name in enumerate(header):
        new, values = COLUMNS.get(name, (name, {}))
        for cells in lines:
            cells[i] = values.get(cells[i], cells[i])
        header[i] = new
    lacking = [name for name in ROW if name not in header]
    header += lacking
    for cells in lines[1:]:
        cells += ["" if ROW[name][0] is None else str(ROW[name][0]) for name in lacking]
    with (copy / TRIALS).open("w", encoding="utf-8", newline="") as target:
        csv.writer(target).writerows(lines)
    return copy


def rehash(folder: Path) -> int:
    """Converts a published folder in place; returns the number of its trials."""
    runs = [converted(run) for run in raw_runs(folder)]
    write_runs(folder, runs)
    for old in ("runs", "summary.csv"):
        if (folder / old).exists():
            shutil.rmtree(folder / old) if (folder / old).is_dir() else (folder / old).unlink()
    write_page(folder)
    return len(runs)


def main(argv: Sequence[str] | None = None) -> int:
    """Converts and prints the numbers of trials; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="+", metavar="FOLDER|FILTER")
    parser.add_argument("-o", dest="output", type=Path, metavar="STUDY")
    arguments = parser.parse_intermixed_args(argv)
    try:
        folders, filters = split_words(arguments.words)
        if arguments.output is None:
            for folder in folders:
                print(f"{folder}: {rehash(Path(folder))} trials")
        else:
            runs = choose([converted(run) for folder in folders for run in raw_runs(Path(folder))], filters)
            said = publish(runs, arguments.output)
            write_page(arguments.output)
            print(f"{arguments.output}: {', '.join(f'{count} {what}' for what, count in said.items())}")
    except DqrunError as error:
        print(f"rehash: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
