"""The integer program of a finished trial, and the file that holds it: the work of `dqrun export`."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dqrun.config import DatasetConfig, RunConfig
from dqrun.data.features import FeatureRule
from dqrun.errors import ResultsError
from dqrun.integer import Program
from dqrun.integer.lower import lower
from dqrun.nn import GNN
from dqrun.quant.plan import split_parameters
from dqrun.runs.model_file import load_features, load_model
from dqrun.runs.network import fit_features
from dqrun.runs.store import MODEL


@dataclass(frozen=True)
class Export:
    """A finished trial as its writers see it: the network of `folder` in evaluation mode, and its program."""

    folder: Path
    model: GNN
    config: RunConfig
    program: Program

    @classmethod
    def load(cls, folder: Path) -> Export:
        """Raises DataError for a damaged model, ConfigError for a network that cannot be lowered."""
        model, config = load_model(folder / MODEL)
        origin = {
            "run": folder.name,
            "dataset": said(config.dataset),
            "features": said(load_features(folder / MODEL) or fit_features(folder, config)),
        }
        return cls(folder, model, config, lower(model, origin))

    @property
    def fp32_bytes(self) -> int:
        """Bytes of the weights in FP32."""
        return 4 * sum(parameter.numel() for parameter in split_parameters(self.model)[0])


def write_program(export: Export, output: Path, arguments: Namespace) -> list[str]:
    """Writes the program to a file and returns lines that tell what it costs.

    Raises ResultsError where the file cannot be written.
    """
    program = export.program
    try:
        program.save(output)
    except OSError as error:
        raise ResultsError(f"-o must name a file that can be written, got {str(output)!r} ({error.strerror})") from None
    fp32, size = export.fp32_bytes, output.stat().st_size
    return [
        f"{output}: {size} bytes, {size / fp32:.3f} of the FP32 weights ({fp32}); {export.config.quant.label}",
        f"{len(program.operations)} operations, in floats: {'; '.join(program.in_floats)}",
    ]


def said(record: DatasetConfig | FeatureRule) -> dict[str, Any]:
    """The fields of a record that differ from their defaults: all that a small file needs."""
    return {f.name: value for f in fields(record) if (value := getattr(record, f.name)) != f.default}
