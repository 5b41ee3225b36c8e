"""Loads and writes the integer program of a finished trial or of a file, for `dqrun export`."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dqrun.config import DataConfig, DatasetConfig, ModelConfig, RunConfig
from dqrun.data.features import FeatureRule
from dqrun.data.splits import split_for
from dqrun.data.stored import load_stored
from dqrun.data.trial_data import TrialData
from dqrun.errors import ConfigError, ResultsError
from dqrun.integer import Program, load_program
from dqrun.integer.lower import lower
from dqrun.nn import GNN
from dqrun.nn.build import reads_edge_features, reads_edge_weights, uses_self_loops
from dqrun.quant.plan import split_parameters
from dqrun.runs.model_file import load_features, load_model, require_data
from dqrun.runs.network import fit_features, fold_of
from dqrun.runs.store import MODEL


@dataclass(frozen=True)
class Run:
    """A finished trial: its folder, its network in evaluation mode, and its configuration."""

    folder: Path
    model: GNN
    config: RunConfig

    @property
    def fp32_bytes(self) -> int:
        """The size of the weights in FP32, in bytes."""
        return 4 * sum(parameter.numel() for parameter in split_parameters(self.model)[0])

    def data(self) -> TrialData:
        """The data of the trial, with its split; raises DataError if the run's row is missing."""
        config = self.config
        dataset = load_stored(config.dataset, DataConfig())
        split, loops = split_for(dataset, config.protocol, fold_of(self.folder)), uses_self_loops(config.model)
        reads = reads_edge_weights(config.model), reads_edge_features(config.model)
        data = TrialData.build(dataset, split, config.dataset, config.train.batch_size, loops, "cpu", *reads)
        require_data(self.folder / MODEL, data.shapes)
        return data


@dataclass(frozen=True)
class Export:
    """The input of a writer: a program and its run; None if the program was read from a file."""

    program: Program
    run: Run | None

    @classmethod
    def load(cls, folder: Path) -> Export:
        """The program of a run. Raises DataError for a damaged model, ConfigError for one that cannot be lowered."""
        model, config = load_model(folder / MODEL)
        origin = {
            "run": folder.name,
            "quant": config.quant.label,
            "model": said(config.model),
            "dataset": said(config.dataset),
            "features": said(load_features(folder / MODEL) or fit_features(folder, config)),
        }
        return cls(lower(model, origin), Run(folder, model, config))

    @classmethod
    def read(cls, path: Path) -> Export:
        """The program of a file; raises DataError for a damaged one."""
        return cls(load_program(path), None)

    def require_run(self, option: str) -> Run:
        """The run; raises ConfigError if there is none. `option`: the option that needs it, for the error."""
        if self.run is None:
            raise ConfigError(f"{option} must be given with a run: a program's file has neither network nor splits")
        return self.run


def write_program(export: Export, output: Path, arguments: Namespace) -> list[str]:
    """Writes the program to a file and returns lines about its size and operations.

    Raises ResultsError if the file cannot be written, ConfigError for a program that was read from a file.
    """
    program, run = export.program, export.require_run("--format program")
    with writing(output):
        program.save(output)
    fp32, size = run.fp32_bytes, output.stat().st_size
    lines = [
        f"{output}: {size} bytes, {size / fp32:.3f} of the FP32 weights ({fp32}); {run.config.quant.label}",
        f"{len(program.operations)} operations, in floats: {'; '.join(program.in_floats)}",
    ]
    if not arguments.check:
        return lines
    from dqrun.cli.verbs.export_check import check  # not above: it imports this module

    return [*lines, *check(program, run)]


@contextmanager
def writing(output: Path) -> Iterator[None]:
    """Raises ResultsError if the block raises OSError."""
    try:
        yield
    except OSError as error:
        raise ResultsError(f"-o must name a file that can be written, got {str(output)!r} ({error.strerror})") from None


def said(record: DatasetConfig | FeatureRule | ModelConfig) -> dict[str, Any]:
    """The fields of a record that differ from their defaults: the others need no place in a file."""
    return {f.name: value for f in fields(record) if (value := getattr(record, f.name)) != f.default}
