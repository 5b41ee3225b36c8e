"""`dqrun.quantize` in a plain loop beside dqrun's own runs: `python benchmarks/plain_loop.py [FOLDER] [--seeds N]
[--json FILE]`.

Two networks as PyG's examples write them, unchanged: GAT on Cora's public split, GIN on MUTAG (one random split of
60/20/20 %, the same for all). Both sides have the same settings, INT8 with Degree-Quant, and keep the epoch with the
best validation loss. A line per seed goes to FOLDER/plain.csv, dqrun's own rows to FOLDER/runs: the command goes on
where it stopped. Prints means with 95 % confidence intervals, and the mean difference of the pairs;
`benchmarks/tables.py` makes the table of docs/howto/python.md from the JSON file.
"""

from __future__ import annotations

import argparse
import copy
import csv
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import tables
import torch
import torch.nn.functional as F
from tables import Pairs
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GATConv, GINConv, global_add_pool

import dqrun
from dqrun.bench import command
from dqrun.composition.compose import load_configs
from dqrun.data.dataset import load_dataset
from dqrun.data.splits import split_for

COMMON = ("quant=int8", "method=dq", "threads=1")
CORA = (
    *("dataset=cora", "model=gat", "train.epochs=200", "train.early_stop_window=0"),
    *COMMON,
)
MUTAG = (
    *("dataset=tu", "dataset.name=MUTAG", "model=gin", "protocol=seeds", "~recipe"),
    *("model.layers=3", "model.hidden=32", "model.readout=sum", "model.head=[1]", "train.epochs=100"),
    *("train.batch_size=32", "train.lr=0.005", *COMMON),
)
PARTS = ("train", "val", "test")


class GAT(nn.Module):
    """The network of PyG's examples/gat.py."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = GATConv(1433, 8, heads=8, dropout=0.6)
        self.conv2 = GATConv(64, 7, heads=1, concat=False, dropout=0.6)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x = F.dropout(x, p=0.6, training=self.training)
        x = F.elu(self.conv1(x, edge_index))
        x = F.dropout(x, p=0.6, training=self.training)
        return self.conv2(x, edge_index)


class GIN(nn.Module):
    """The network of PyG's examples/mutag_gin.py, with three layers and dqrun's head."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [7, 32, 32]
        self.convs = nn.ModuleList(
            GINConv(nn.Sequential(nn.Linear(size, 32), nn.ReLU(), nn.Linear(32, 32)), train_eps=True) for size in sizes
        )
        self.mlp = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
        for conv in self.convs:
            x = conv(x, edge_index).relu()
        return self.mlp(global_add_pool(x, batch))


def cora(seed: int) -> float:
    """Trains GAT on Cora in a plain loop; returns its test accuracy."""
    (config,) = load_configs(CORA)
    dataset = load_dataset(config.dataset, config.data)
    split = split_for(dataset, config.protocol, None)
    graph = dataset.packed.gather(torch.tensor([0]))[0]
    edge_index = torch.stack([graph.csr.col, graph.csr.row])
    assert dataset.x is not None
    x = dataset.x / dataset.x.sum(1, keepdim=True).clamp(min=1)  # NormalizeFeatures
    torch.manual_seed(seed)
    model = dqrun.quantize(GAT(), quant="int8", method="dq", recipe="cora_gat")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005, weight_decay=5e-4)

    def epoch() -> None:
        model.train()
        optimizer.zero_grad()
        F.cross_entropy(model(x, edge_index)[split.train], dataset.y[split.train]).backward()
        optimizer.step()

    @torch.no_grad()
    def judge(part: str) -> tuple[float, float]:
        model.eval()
        logits, y = model(x, edge_index)[split.part(part)], dataset.y[split.part(part)]
        return F.cross_entropy(logits, y).item(), (logits.argmax(-1) == y).double().mean().item()

    return best(model, epoch, judge, 200)


def mutag(seed: int, graphs: list[Data]) -> float:
    """Trains GIN on MUTAG in a plain loop; returns its test accuracy."""
    parts = {part: [graph for graph in graphs if graph.split == part] for part in PARTS}
    torch.manual_seed(seed)
    model = dqrun.quantize(GIN(), quant="int8", method="dq")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)

    def batches() -> Iterator[Batch]:
        order = torch.randperm(len(parts["train"])).tolist()
        for first in range(0, len(order), 32):
            yield Batch.from_data_list([parts["train"][i] for i in order[first : first + 32]])

    def epoch() -> None:
        model.train()
        for data in batches():
            optimizer.zero_grad()
            F.cross_entropy(model(data.x, data.edge_index, data.batch), data.y).backward()
            optimizer.step()

    @torch.no_grad()
    def judge(part: str) -> tuple[float, float]:
        model.eval()
        data = Batch.from_data_list(parts[part])
        logits = model(data.x, data.edge_index, data.batch)
        return F.cross_entropy(logits, data.y).item(), (logits.argmax(-1) == data.y).double().mean().item()

    return best(model, epoch, judge, 100)


def best(
    model: nn.Module, epoch: Callable[[], None], judge: Callable[[str], tuple[float, float]], epochs: int
) -> float:
    """Trains; returns the test accuracy at the lowest validation loss. `judge`: loss and accuracy of a part."""
    lowest, state = math.inf, model.state_dict()
    for _ in range(epochs):
        epoch()
        loss, _ = judge("val")
        if loss < lowest:
            lowest, state = loss, copy.deepcopy(model.state_dict())
    model.load_state_dict(state)
    return judge("test")[1]


def read_mutag() -> list[Data]:
    """MUTAG as PyG's objects; `split` is the part of each graph."""
    (config,) = load_configs(MUTAG)
    dataset = load_dataset(config.dataset, config.data)
    split = split_for(dataset, config.protocol, None)
    part_of = {int(i): part for part in PARTS for i in split.part(part)}
    graphs = []
    for i in range(dataset.num_graphs):
        graph, nodes = dataset.packed.gather(torch.tensor([i]))
        edges = torch.stack([graph.csr.col, graph.csr.row])
        graphs.append(Data(x=dataset.x[nodes], edge_index=edges, y=dataset.y[i : i + 1], split=part_of[i]))
    return graphs


def plain(folder: Path, network: str, seed: int, trial: Callable[[], float]) -> float:
    """The test accuracy of one seed: from `plain.csv`, or from a new training, which is added there."""
    path = folder / "plain.csv"
    rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines())) if path.exists() else []
    for row in rows:
        if row[:2] == [network, str(seed)]:
            return float(row[2])
    accuracy = trial()
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{network},{seed},{accuracy!r}\n")
    return accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("plain_loop"))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    output = command.writable(arguments.json)
    folder, seeds = arguments.folder, range(arguments.seeds)
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    graphs = read_mutag()
    networks: tuple[tuple[str, str, tuple[str, ...], Callable[[int], float]], ...] = (
        ("GAT on Cora", "GAT, 2 layers, Cora's public split, 200 epochs", CORA, cora),
        ("GIN on MUTAG", "GIN, 3 layers, MUTAG, one random split, 100 epochs", MUTAG, lambda seed: mutag(seed, graphs)),
    )
    pairs = []
    for network, said, words, loop in networks:
        rows = dqrun.run(*words, f"protocol.trials={len(seeds)}", results=folder, progress=False)
        theirs = [plain(folder, network, seed, lambda seed=seed, loop=loop: loop(seed)) for seed in seeds]
        pairs.append(Pairs(said, rows["test_metric"].tolist(), theirs))
        command.write(output, pairs)
    print(tables.plain_table({"results": [asdict(each) for each in pairs]}))


if __name__ == "__main__":
    main()
