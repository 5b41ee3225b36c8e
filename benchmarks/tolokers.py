"""The same GCN on tolokers by dqrun and in plain PyG: `python benchmarks/tolokers.py [--folds N] [--epochs N]
[--json FILE]`.

Two layers of 64 channels, dropout 0.2, Adam with rate 0.01; ROC-AUC of the test part in the epoch with the best one of
the validation part; the dataset's own splits. The part in plain PyG reads the raw file and uses nothing of dqrun's, but
for the folder of raw files (`DQRUN_DATA_MIRROR`). `benchmarks/tables.py` makes the table of docs/howto/python.md from
the JSON file.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import tables
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from tables import Pairs
from torch import Tensor, nn
from torch_geometric.nn import GCNConv
from torch_geometric.utils import to_undirected

import dqrun
from dqrun.bench import command

HIDDEN, DROPOUT, RATE = 64, 0.2, 0.01


class Network(nn.Module):
    """The model of PyG's introduction."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.first, self.second = GCNConv(in_channels, HIDDEN, cached=True), GCNConv(HIDDEN, 2, cached=True)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        h = F.dropout(self.first(x, edge_index).relu(), DROPOUT, self.training)
        logits: Tensor = self.second(h, edge_index)
        return logits


def in_pyg(raw: Path, fold: int, epochs: int) -> float:
    """Test ROC-AUC in plain PyG, at the epoch with the best validation ROC-AUC."""
    data = np.load(raw)
    x, y = torch.from_numpy(data["node_features"]).float(), torch.from_numpy(data["node_labels"]).long()
    edge_index = to_undirected(torch.from_numpy(data["edges"]).t().contiguous())
    train, val, test = (torch.from_numpy(data[f"{part}_masks"][fold]) for part in ("train", "val", "test"))
    torch.manual_seed(fold)
    model = Network(x.size(1))
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    best, reached = 0.0, 0.0
    for _ in range(epochs):
        model.train()
        loss = F.cross_entropy(model(x, edge_index)[train], y[train])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        model.eval()
        with torch.no_grad():
            score = model(x, edge_index).double().softmax(-1)[:, 1]
        if (found := float(roc_auc_score(y[val], score[val]))) > best:
            best, reached = found, float(roc_auc_score(y[test], score[test]))
    return reached


def in_dqrun(folds: int, epochs: int, results: Path) -> list[float]:
    """Test ROC-AUC of each fold in dqrun."""
    listed = ",".join(map(str, range(folds)))
    frame = dqrun.run(
        "dataset=tolokers", "model=gcn", "quant=fp32", f"model.hidden={HIDDEN}", f"model.dropout={DROPOUT}",
        f"train.lr={RATE}", f"train.epochs={epochs}", "train.select=val_metric", f"protocol.folds=[{listed}]",
        f"results.dir={results}",
    )  # fmt: skip
    return [float(value) for value in frame["test_metric"]]


def main(argv: Sequence[str] | None = None) -> int:
    """Measures both and prints the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args(argv)
    output = command.writable(arguments.json)
    raw = Path(os.environ["DQRUN_DATA_MIRROR"]) / "tolokers" / "raw" / "tolokers.npz"
    with tempfile.TemporaryDirectory() as folder:
        ours = in_dqrun(arguments.folds, arguments.epochs, Path(folder))
    theirs = [in_pyg(raw, fold, arguments.epochs) for fold in range(arguments.folds)]
    pairs = Pairs(f"GCN, 2 layers, tolokers, {arguments.epochs} epochs", ours, theirs)
    command.write(output, [pairs])
    print(tables.plain_table({"results": [asdict(pairs)]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
