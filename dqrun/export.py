"""`dqrun export RUN [-o FILE]`: the integer program of a finished trial as a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from dqrun.arguments import VerbParser
from dqrun.checkpoint import load_features, load_model
from dqrun.config import DatasetConfig, RunConfig
from dqrun.data.dataset import load_dataset
from dqrun.data.features import FeatureRule
from dqrun.data.splits import split_for
from dqrun.engine.lower import lower
from dqrun.errors import DataError, ResultsError
from dqrun.quant.plan import split_parameters

SUFFIX = ".dqp"


def main(argv: Sequence[str]) -> int:
    """Writes the program and prints what it costs. Returns the exit code."""
    parser = VerbParser(
        prog="dqrun export",
        description="Writes the integer program of a network that was trained with plan=integer.",
    )
    parser.add_argument("run", metavar="RUN", help="a run folder, or the name of one in the results folder")
    parser.add_argument("-o", "--output", metavar="FILE", help=f"default: RUN{SUFFIX} in the current folder")
    parser.add_argument("--results", metavar="DIR", default="results", help="results folder (default: results)")
    arguments = parser.parse_args(argv)
    folder = find_run(arguments.run, Path(arguments.results))
    output = Path(arguments.output or f"{folder.name}{SUFFIX}")
    model, config = load_model(folder / "model.safetensors")
    origin = {
        "run": folder.name,
        "dataset": said(config.dataset),
        "features": said(load_features(folder / "model.safetensors") or fit_features(folder, config)),
    }
    program = lower(model, origin)
    try:
        program.save(output)
    except OSError as error:
        raise ResultsError(f"-o must name a file that can be written, got {str(output)!r} ({error.strerror})") from None
    fp32 = 4 * sum(parameter.numel() for parameter in split_parameters(model)[0])
    size = output.stat().st_size
    print(f"{output}: {size} bytes, {size / fp32:.3f} of the FP32 weights ({fp32}); {config.quant.label}")
    print(f"{len(program.operations)} operations, in floats: {', '.join(program.float_islands)}")
    return 0


def said(record: DatasetConfig | FeatureRule) -> dict[str, Any]:
    """The fields of a record that differ from their defaults: all that a small file needs."""
    return {f.name: value for f in fields(record) if (value := getattr(record, f.name)) != f.default}


def find_run(run: str, results: Path) -> Path:
    """The folder of a run, given by path or name; raises ResultsError where there is no network."""
    for folder in (Path(run).expanduser(), results.expanduser() / "runs" / run):
        if (folder / "model.safetensors").is_file():
            return folder.resolve()
    raise ResultsError(f"RUN must be a run folder with model.safetensors, or a name in {results / 'runs'}, got {run!r}")


def fit_features(folder: Path, config: RunConfig) -> FeatureRule:
    """The features' rule of a network whose file has none, from its training data; raises DataError without a row."""
    try:
        fold = json.loads((folder / "row.json").read_text())["fold"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder / 'row.json'} must name the fold of the trial ({error})") from None
    dataset = load_dataset(config.dataset, config.data)
    return FeatureRule.fit(dataset, split_for(dataset, config.protocol, fold), config.dataset)
