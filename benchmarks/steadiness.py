"""How much validation varies from epoch to epoch: `python benchmarks/steadiness.py RUN... [--json FILE]`.

RUN is a run's folder. Of its history: mean, smallest and largest validation metric of the last LAST epochs, beside that
of the epoch that was kept. `benchmarks/tables.py` makes the table of docs/reproduction.md from the file.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from statistics import fmean
from typing import Any

from dqrun.report.rows import Run

LAST = 20
NAMED = ("dataset", "model", "quant", "method", "fold", "epochs", "val_metric")
OPTIONS = ("plan.exact", "train.bn_reestimation", "method.step")


def steadiness(folder: Path) -> dict[str, Any]:
    """What names a run, and its validation metric in the last epochs."""
    run = Run(json.loads((folder / "row.json").read_text(encoding="utf-8")), folder)
    with (folder / "history.csv").open(encoding="utf-8", newline="") as file:
        last = [float(line["val_metric"]) for line in csv.DictReader(file)][-LAST:]
    spread = {"mean": fmean(last), "smallest": min(last), "largest": max(last)}
    return {**{name: run.value(name) for name in (*NAMED, *OPTIONS)}, **spread}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    results = [steadiness(run) for run in arguments.runs]
    for found in results:
        print(json.dumps(found), flush=True)
    if arguments.json:
        text = json.dumps({"command": "benchmarks/steadiness.py", "epochs": LAST, "results": results}, indent=1)
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
