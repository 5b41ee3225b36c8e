"""`dqrun.load_model` gives what `dqrun predict` gives."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

import dqrun
from dqrun.cli import main

SMALL = ("model.hidden=8", "model.layers=2", "train.epochs=2", "threads=1", "protocol.trials=1")


def predicted(run: Path, graphs: Path, output: Path) -> Tensor:
    """Logits by the command line."""
    assert main(["predict", str(run), "--dataset", str(graphs), "-o", str(output)]) == 0
    rows = list(csv.DictReader(output.read_text().splitlines()))
    names = [name for name in rows[0] if name.startswith("logit_")]
    return torch.tensor([[float(row[name]) for name in names] for row in rows])


def random_graph(seed: int, features: int | None) -> Data:
    generator = torch.Generator().manual_seed(seed)
    count = 5 + seed
    edge_index = torch.randint(count, (2, 3 * count), generator=generator)
    edge_index = torch.cat([edge_index, edge_index.flip(0)], 1).unique(dim=1)
    x = None if features is None else torch.rand(count, features, generator=generator)
    return Data(x=x, edge_index=edge_index, num_nodes=count)


@pytest.mark.parametrize("model", ["gin", "gcn", "gat"])
def test_graphs_without_features(tmp_path: Path, model: str) -> None:
    words = ("dataset=threads", "dataset.graphs=20", f"model={model}", "quant=int4", *SMALL)
    (name,) = dqrun.run(*words, results=tmp_path, progress=False)["run_id"]
    network = dqrun.load_model(name, tmp_path)
    assert not network.training
    graphs = [random_graph(seed, None) for seed in range(4)]
    torch.save(graphs, tmp_path / "graphs.pt")
    batch = Batch.from_data_list(graphs)
    logits = network(None, batch.edge_index, batch.batch)
    assert torch.equal(logits, predicted(tmp_path / "runs" / name, tmp_path / "graphs.pt", tmp_path / "p.csv"))
    assert torch.equal(dqrun.load_model(tmp_path / "runs" / name)(None, batch.edge_index, batch.batch), logits)
    with pytest.raises(dqrun.DataError, match="x must be None: the features of this network are degrees"):
        network(torch.ones(batch.num_nodes, 1), batch.edge_index, batch.batch)


def write_nodes(folder: Path) -> Path:
    folder.mkdir()
    lines = [f"{i},{i % 2},{i % 3},{i % 5},{(i + 1) % 2}" for i in range(30)]
    (folder / "nodes.csv").write_text("\n".join(["node,label,a,b,c", *lines]) + "\n")
    edges = [f"{i},{(i + step) % 30}" for i in range(30) for step in (1, 3, 29)]
    (folder / "edges.csv").write_text("\n".join(["source,target", *edges]) + "\n")
    return folder


def test_nodes_with_features(tmp_path: Path) -> None:
    folder = write_nodes(tmp_path / "nodes")
    words = ("dataset=folder", f"dataset.path={folder}", "dataset.task=node_classification", "model=gcn", *SMALL)
    frame = dqrun.run(*words, "dataset.normalize_rows=true", results=tmp_path, progress=False)
    run = tmp_path / "runs" / frame["run_id"][0]
    network, graph = dqrun.load_model(run), random_graph(7, 3)
    torch.save(graph, tmp_path / "graph.pt")
    logits = network(graph.x, graph.edge_index)
    assert torch.equal(logits, predicted(run, tmp_path / "graph.pt", tmp_path / "p.csv"))
    x = graph.x.clone().requires_grad_()  # explainers ask for this
    network(x, graph.edge_index).sum().backward()
    assert x.grad is not None and bool(x.grad.any())
    with pytest.raises(dqrun.DataError, match="x must have 3 float features per node, got 2"):
        network(graph.x[:, :2], graph.edge_index)
    with pytest.raises(dqrun.DataError, match=r"edge_index must name nodes in 0\.\.3, got"):
        network(graph.x[:4], graph.edge_index)
    with pytest.raises(dqrun.DataError, match="edge_weight must be None"):
        network(graph.x, graph.edge_index, edge_weight=torch.ones(graph.num_edges))


def test_unknown_and_damaged_runs(tmp_path: Path) -> None:
    with pytest.raises(dqrun.ResultsError, match=r"RUN must be a run folder with model\.safetensors"):
        dqrun.load_model("none", tmp_path)
    folder = tmp_path / "runs" / "bad"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"no")
    with pytest.raises(dqrun.DataError, match="not a readable model file"):
        dqrun.load_model("bad", tmp_path)


def test_the_program_of_a_run(tmp_path: Path) -> None:
    words = ("dataset=threads", "dataset.graphs=20", "model=gin", "quant=int8", "plan=integer", *SMALL)
    (name,) = dqrun.run(*words, results=tmp_path, progress=False)["run_id"]
    network = dqrun.load_model(name, tmp_path)
    program = dqrun.lower(network)
    batch = Batch.from_data_list([random_graph(seed, None) for seed in range(4)])
    assert main(["export", str(tmp_path / "runs" / name), "-o", str(tmp_path / "p.dqp")]) == 0
    x = network.features(None, batch.edge_index, batch.num_nodes)
    exported = dqrun.load_program(tmp_path / "p.dqp")
    logits = program(x, batch.edge_index, batch.batch)
    assert torch.equal(logits, exported(x, batch.edge_index, batch.batch))
    assert (logits - network(None, batch.edge_index, batch.batch)).abs().max() < 0.05 * logits.abs().max()
