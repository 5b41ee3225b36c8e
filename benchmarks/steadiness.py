"""How much validation varies from epoch to epoch: `python benchmarks/steadiness.py RUN... [--json FILE]`.

RUN is a run's folder. Of its history: mean, smallest and largest validation metric of the last LAST epochs, beside that
of the epoch that was kept. `benchmarks/tables.py` makes the table of docs/measurements/reproduction.md from the file.
"""

from __future__ import annotations

import csv
from pathlib import Path
from statistics import fmean
from typing import Any

from of_runs import report

from dqrun.analysis.rows import Run
from dqrun.runs.row import read_row

LAST = 20
NAMED = ("dataset", "model", "quant", "method", "fold", "epochs", "val_metric")
OPTIONS = ("plan.fp32", "train.bn_reestimation", "method.learned_scale")


def steadiness(folder: Path) -> dict[str, Any]:
    """Columns that identify a run, and mean, smallest and largest validation metric of its LAST last epochs."""
    run = Run(read_row(folder / "row.json"), folder)
    with (folder / "history.csv").open(encoding="utf-8", newline="") as file:
        last = [float(line["val_metric"]) for line in csv.DictReader(file)][-LAST:]
    spread = {"mean": fmean(last), "smallest": min(last), "largest": max(last)}
    return {**{name: run.value(name) for name in (*NAMED, *OPTIONS)}, **spread}


if __name__ == "__main__":
    report(__doc__, steadiness, epochs=LAST)
