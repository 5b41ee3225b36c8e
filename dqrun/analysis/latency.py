"""Measured latencies, read from the JSON of `dqrun bench inference`."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import dataclass
from pathlib import Path

from dqrun.analysis.cells import Cell
from dqrun.errors import ResultsError


@dataclass(frozen=True)
class Latency:
    """One measurement: `variant` is fp32, int8, int4, ... of dqrun's own kernels; `seconds` per run.

    `run_id`: of the run whose program was measured, or "".
    """

    graph: str
    model: str
    variant: str
    seconds: float
    run_id: str = ""


def read_latencies(path: Path) -> list[Latency]:
    """Entries of `{"results": [{"variant", "model", "graph" or "dataset", "run_seconds"}, ...]}`.

    Raises ResultsError for a file that is missing or of another form.
    """
    try:
        entries = json.loads(path.read_bytes())["results"]
        found = [
            Latency(
                str(entry["graph"] if "graph" in entry else entry["dataset"]),
                str(entry["model"]),
                str(entry["variant"]),
                float(entry["run_seconds"]),
                str(entry.get("run", "")),
            )
            for entry in entries
        ]
    except OSError as error:
        raise ResultsError(f"could not read {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        wanted = '{"results": [{"variant", "model", "graph" or "dataset", "run_seconds"}]}'
        raise ResultsError(f"{path} must be the JSON of dqrun bench inference, {wanted} ({error!r})") from None
    return found


def latency_of(cell: Cell, latencies: list[Latency]) -> float:
    """Seconds measured for a run of the cell, else for its dataset, model and width; nan without a measurement.

    For several programs the median. Raises ResultsError for several entries that name no run.
    """
    wanted = (_name(cell.text("dataset")), cell.text("model"), cell.text("quant"))
    alike = [each for each in latencies if (_name(each.graph), each.model, each.variant) == wanted]
    runs = {run.row["run_id"] for run in cell.runs}
    found = [each for each in alike if each.run_id in runs] or alike
    if len(found) > 1 and not all(each.run_id for each in found):
        raise ResultsError(f"--latency has {len(found)} entries for {' '.join(wanted)}: which one holds?")
    return statistics.median(each.seconds for each in found) if found else math.nan


def _name(dataset: str) -> str:
    """REDDIT-BINARY and reddit_binary are the same dataset."""
    return "".join(character for character in dataset.casefold() if character.isalnum())
