"""The integer program of a finished trial as a file: the work of `dqrun export`."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from dqrun.config import DatasetConfig
from dqrun.data.features import FeatureRule
from dqrun.errors import ResultsError
from dqrun.integer.lower import lower
from dqrun.quant.plan import split_parameters
from dqrun.runs.model_file import load_features, load_model
from dqrun.runs.network import fit_features
from dqrun.runs.store import MODEL


def export(folder: Path, output: Path) -> list[str]:
    """Writes the program of the run in `folder` to a file and returns lines that tell what it costs.

    Raises DataError for a damaged model, ConfigError for a network that cannot be lowered, ResultsError where the file
    cannot be written.
    """
    model, config = load_model(folder / MODEL)
    origin = {
        "run": folder.name,
        "dataset": said(config.dataset),
        "features": said(load_features(folder / MODEL) or fit_features(folder, config)),
    }
    program = lower(model, origin)
    try:
        program.save(output)
    except OSError as error:
        raise ResultsError(f"-o must name a file that can be written, got {str(output)!r} ({error.strerror})") from None
    fp32 = 4 * sum(parameter.numel() for parameter in split_parameters(model)[0])
    size = output.stat().st_size
    return [
        f"{output}: {size} bytes, {size / fp32:.3f} of the FP32 weights ({fp32}); {config.quant.label}",
        f"{len(program.operations)} operations, in floats: {'; '.join(program.in_floats)}",
    ]


def said(record: DatasetConfig | FeatureRule) -> dict[str, Any]:
    """The fields of a record that differ from their defaults: all that a small file needs."""
    return {f.name: value for f in fields(record) if (value := getattr(record, f.name)) != f.default}
