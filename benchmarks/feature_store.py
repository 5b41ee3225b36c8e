"""What the width in which features are stored costs in accuracy, and gives in bytes and time:
`python benchmarks/feature_store.py [--trials N] [--json FILE] [NAME=GROUP=OPTION,... ...]`.

Each set is trained by FP32's GCN with `loader.feature_store` float32, int8, int4 (ranges of rows), int8_column and
int4_column; validation chooses the epoch, as always. Beside it: bytes of the features of a node, and the time in which
the rows of a batch are made float32, for 2^18 rows of 128 features and batches of 2^14 rows.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import tables
import torch

import dqrun
from dqrun.bench import command
from dqrun.config.loader import STORES
from dqrun.data.features import GivenFeatures
from dqrun.data.stored_rows import stored

ROWS, CHANNELS, BATCH, ROUNDS = 1 << 18, 128, 1 << 14, 15
SETS = {
    "cora": ["dataset=cora", "protocol.trials={trials}"],
    "tolokers": [
        "dataset=tolokers", "model.hidden=64", "model.dropout=0.2", "train.lr=0.01", "train.epochs=100",
        "train.select=val_metric", "protocol.folds={folds}",
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Accuracy:
    """The test metric of each trial on one dataset with one store."""

    dataset: str
    store: str
    test: list[float]


@dataclass(frozen=True)
class Cost:
    """Bytes per node with 128 features in a store, and the time of the fastest of 15 batches of 16,384 random rows."""

    store: str
    bytes_per_node: float
    batch_seconds: float


def accuracies(name: str, words: Sequence[str], trials: int, results: Path) -> list[Accuracy]:
    """Trains with each store and returns the test metrics."""
    folds = "[" + ",".join(map(str, range(trials))) + "]"
    given = [word.format(trials=trials, folds=folds) for word in words]
    lines = []
    for store in STORES:
        frame = dqrun.run(*given, "model=gcn", "quant=fp32", f"loader.feature_store={store}", f"results.dir={results}")
        lines.append(Accuracy(name, store, [float(value) for value in frame["test_metric"]]))
        print(f"{name} {store}: {lines[-1].test}", file=sys.stderr, flush=True)
    return lines


def costs() -> list[Cost]:
    """Measures each store."""
    draw = torch.Generator().manual_seed(0)
    features = GivenFeatures(torch.randn(ROWS, CHANNELS, generator=draw))
    batches = [torch.randint(ROWS, (BATCH,), generator=draw) for _ in range(ROUNDS)]
    lines = []
    for store in STORES:
        held = stored(features, store)
        size = held.x.nbytes if isinstance(held, GivenFeatures) else held.nbytes  # type: ignore[attr-defined]
        seconds = []
        for batch in batches:
            started = time.perf_counter()
            held.gather(batch)
            seconds.append(time.perf_counter() - started)
        lines.append(Cost(store, size / ROWS, min(seconds)))
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="NAME=WORDS", help="a set with its words, parted by blanks")
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args(argv)
    output = command.writable(arguments.json)
    given = dict(word.split("=", 1) for word in arguments.sets)
    chosen = {name: words.split() if words else SETS[name] for name, words in given.items()} or SETS
    measured: list[Accuracy] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, words in chosen.items():
            measured += accuracies(name, words, arguments.trials, Path(folder))
    found = costs()
    command.write(output, [*measured, *found])
    document = {"results": [asdict(line) for line in (*measured, *found)]}
    print(tables.store_table(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
