"""Whether published trials still come out the same: `python benchmarks/rerun.py [--count 12] [--seed 0]`.

Draws published trials of Cora and CiteSeer, one in turn for each model and each of `method=naive`, `dq` and `ptq` with
`plan=paper`, and of `plan=integer`; trains each again with the command of its row, on one thread, and compares its
metrics, losses of the training included, with the published row of the same `config_hash`. A trial whose hash is not
published is an error: the configuration means something else now. Exits with 1 where anything differs.

Needs the raw data (`DQRUN_DATA_MIRROR` or the network). Bits are those of one processor type and one version of torch:
rows of others are not drawn.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

PUBLISHED = Path(__file__).resolve().parents[1] / "results" / "published"
PRESETS = {"Cora": "cora", "CiteSeer": "citeseer"}
COMPARED = ("best_epoch", "train_metric", "val_metric", "test_metric", "test_metric_integer", "integer_agreement")
Row = Mapping[str, str]


def published() -> list[Row]:
    """The trials of two studies whose command follows from their columns, with this version of torch."""
    rows: list[Row] = []
    for study in ("citation", "integer"):
        with (PUBLISHED / study / "trials.csv").open(encoding="utf-8", newline="") as lines:
            rows += csv.DictReader(lines)
    return [row for row in rows if row["dataset"] in PRESETS and row["torch_version"] == torch.__version__]


def draw(rows: Sequence[Row], count: int, seed: int) -> list[Row]:
    """`count` trials, drawn in turn from the compared kinds (model, method, plan); with repetitions."""
    kinds: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if row["method"] in ("naive", "dq", "ptq"):
            kinds.setdefault((row["model"], row["method"], row["plan"]), []).append(row)
    chance, turns = random.Random(seed), sorted(kinds)
    chance.shuffle(turns)
    return [chance.choice(kinds[turns[i % len(turns)]]) for i in range(count)]


def again(row: Row, folder: Path) -> Row:
    """Trains the same trial again in `folder`; returns its row as text."""
    words = [
        *(f"dataset={PRESETS[row['dataset']]}", f"model={row['model']}", f"quant={row['quant']}"),
        *(f"method={row['method']}", f"plan={row['plan']}", f"protocol.first_seed={row['seed']}"),
        *("protocol.trials=1", "threads=1", f"results.dir={folder}"),
        *(["evaluate.engine=integer"] if row["plan"] == "integer" else []),
    ]
    subprocess.run([sys.executable, "-m", "dqrun", *words], check=True, stdout=subprocess.DEVNULL)
    (path,) = folder.glob("runs/*/row.json")
    found: Row = {name: "" if value is None else str(value) for name, value in json.loads(path.read_text()).items()}
    return found


def differences(old: Row, new: Row) -> list[str]:
    """The differing columns of COMPARED and `config_hash`, as text; `config_hash` first."""
    return [f"{name}: {old[name]} -> {new[name]}" for name in ("config_hash", *COMPARED) if old[name] != new[name]]


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a line per trial and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    failed = 0
    for row in draw(published(), arguments.count, arguments.seed):
        with tempfile.TemporaryDirectory() as folder:
            found = differences(row, again(row, Path(folder)))
        failed += bool(found)
        name = "-".join(row[part] for part in ("dataset", "model", "quant", "method", "plan", "seed"))
        print(f"{name}: {'; '.join(found) or 'the same'}", flush=True)
    print(f"{arguments.count} trials, {failed} differ")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
