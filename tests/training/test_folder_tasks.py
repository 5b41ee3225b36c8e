"""Every task on a folder of one's own: read, trained, judged, predicted."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dqrun.cli import main
from dqrun.composition.compose import load_configs
from dqrun.config import DataConfig, DatasetConfig
from dqrun.data.dataset import GraphDataset, load_dataset
from dqrun.errors import DataError
from dqrun.sweep.run import run_all

SMALL = ["dataset=folder", "model.hidden=4", "train.epochs=2", "protocol.trials=1", "threads=1", "plan=integer"]
SMALL += ["evaluate.engine=integer", "quant=int8"]
SPLIT = ["train", "train", "train", "val", "test"]
Capture = pytest.CaptureFixture[str]


def write(folder: Path, **tables: list[str]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, lines in tables.items():
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return folder


def graphs(folder: Path, header: str, targets: list[str]) -> Path:
    """A path of three nodes for each target."""
    ids = range(len(targets))
    return write(
        folder,
        graphs=[f"graph,split,{header}", *(f"{g},{SPLIT[g % 5]},{targets[g]}" for g in ids)],
        nodes=["graph,node,mass", *(f"{g},{n},{n + g / 10}" for g in ids for n in range(3))],
        edges=["graph,source,target,weight", *(f"{g},{a},{b},{a + b}" for g in ids for a, b in ((0, 1), (1, 2)))],
    )


def node_graphs(folder: Path, header: str, targets: list[str]) -> Path:
    """Five graphs of three nodes, the nodes of all graphs mixed, a part for each graph."""
    places = [(g, n) for n in range(3) for g in range(5)]
    nodes = [f"{g},{n},{SPLIT[g]},{n - g},{targets[i % len(targets)]}" for i, (g, n) in enumerate(places)]
    edges = [f"{g},{a},{b}" for g in range(5) for a, b in ((0, 1), (1, 2))]
    return write(folder, nodes=[f"graph,node,split,x,{header}", *nodes], edges=["graph,source,target", *edges])


def load(folder: Path, task: str) -> GraphDataset:
    return load_dataset(DatasetConfig("own", "folder", task, features="auto", path=str(folder)), DataConfig())


def row_of(folder: Path, task: str, *words: str) -> dict[str, Any]:
    """The row of the one trial on a folder."""
    results = folder / "results"
    fields = [f"dataset.path={folder}", f"dataset.task={task}", f"results.dir={results}", *words]
    assert run_all(load_configs([*SMALL, *fields]), quiet=True) == 0
    (path,) = results.glob("runs/*/row.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def predicted(folder: Path, row: dict[str, Any], capsys: Capture) -> list[dict[str, str]]:
    words = ["predict", str(folder / "results" / "runs" / row["run_id"]), "--dataset", str(folder)]
    capsys.readouterr()
    assert main(words) == 0
    return list(csv.DictReader(capsys.readouterr().out.splitlines()))


def test_several_labels_of_graphs_some_unknown(tmp_path: Path, capsys: Capture) -> None:
    folder = graphs(
        tmp_path, "label_toxic,label_blue", ["1,", "0,1", "1,0", "0,1", "1,0", "1,1", "0,", "0,0", "1,0", "0,1"]
    )
    dataset = load(folder, "graph_multilabel")
    expected = torch.tensor([[1, torch.nan], [0, 1], [1, 0]])
    torch.testing.assert_close(dataset.y[:3], expected, equal_nan=True)
    assert dataset.num_classes == 2 and dataset.class_names == ("toxic", "blue")
    row = row_of(folder, "graph_multilabel", "model=gin", "method=naive")
    assert row["status"] == "done" and row["metric"] == "roc_auc" and row["baseline"] == 0.5
    assert row["roc_auc"] == row["test_metric"] and row["test_metric_integer"] is not None
    assert row["f1_micro"] is not None and row["balanced_accuracy"] is None and row["integer_agreement"] > 0.5
    lines = predicted(folder, row, capsys)
    head = ["graph", "prediction_toxic", "prediction_blue", "logit_toxic", "logit_blue", "target_toxic", "target_blue"]
    assert list(lines[0]) == head and lines[0]["target_toxic"] == "1" and lines[0]["target_blue"] == ""
    assert all((float(line["logit_blue"]) > 0) == (line["prediction_blue"] == "1") for line in lines)


def test_several_labels_of_nodes_of_several_graphs(tmp_path: Path, capsys: Capture) -> None:
    folder = node_graphs(tmp_path, "label_a,label_b", ["1,0", "0,1"])
    dataset = load(folder, "node_multilabel")
    assert dataset.num_graphs == 5 and dataset.x is not None and dataset.official is not None
    assert dataset.x[:, 0].tolist() == [n - g for g in range(5) for n in range(3)]
    assert dataset.y[:, 0].tolist() == [1 - (5 * n + g) % 2 for g in range(5) for n in range(3)]
    assert dataset.official.test.tolist() == [12, 13, 14]
    row = row_of(
        folder, "node_multilabel", "model=gcn", "dataset.metric=f1_micro", "quant=fp32", "evaluate.engine=float"
    )
    assert row["status"] == "done" and row["metric"] == "f1_micro" and row["higher_is_better"]
    lines = predicted(folder, row, capsys)
    assert len(lines) == 15 and lines[1]["target_a"] == "0"


def test_numbers_of_nodes(tmp_path: Path, capsys: Capture) -> None:
    lines = [f"{i},{i / 3},{SPLIT[i % 5]},{i % 4}" for i in range(10)]
    edges = [f"{i},{(i + 1) % 10},{0.5 * i}" for i in range(10)]
    folder = write(tmp_path, nodes=["node,label,split,x", *lines], edges=["source,target,weight", *edges])
    row = row_of(folder, "node_regression", "model=gcn", "method=naive")
    assert row["status"] == "done" and row["metric"] == "mae" and not row["higher_is_better"]
    assert row["rmse"] >= row["mae"] == row["test_metric"] and row["accuracy"] is None
    train = [i / 3 for i in range(10) if SPLIT[i % 5] == "train"]
    expected = np.abs(np.array([4, 9]) / 3 - np.median(train)).mean()
    assert row["baseline"] == pytest.approx(expected)
    found = predicted(folder, row, capsys)
    assert list(found[0]) == ["node", "prediction", "target"] and float(found[3]["target"]) == pytest.approx(1.0)


def test_classes_by_name(tmp_path: Path, capsys: Capture) -> None:
    folder = graphs(tmp_path, "label", ["red", "blue", "red", "green", "blue"] * 2)
    dataset = load(folder, "graph_classification")
    assert dataset.class_names == ("blue", "green", "red") and dataset.y.tolist() == [2, 0, 2, 1, 0] * 2
    row = row_of(folder, "graph_classification", "model=gin", "method=naive", "dataset.metric=balanced_accuracy")
    lines = predicted(folder, row, capsys)
    assert list(lines[0]) == ["graph", "prediction", "logit_blue", "logit_green", "logit_red", "target"]
    assert {line["prediction"] for line in lines} <= {"red", "green", "blue"} and lines[3]["target"] == "green"


def test_archives_of_several_labels_and_of_several_graphs(tmp_path: Path) -> None:
    y = np.array([[0, 1], [1, np.nan], [0, 0], [1, 1]])
    arrays = {"edge_index": np.array([[0, 2], [1, 3]]), "x": np.arange(4.0).reshape(4, 1)}
    np.savez(tmp_path / "data.npz", y=y, batch=np.array([1, 1, 0, 0]), **arrays)
    dataset = load(tmp_path, "node_multilabel")
    torch.testing.assert_close(dataset.y, torch.tensor(y[[2, 3, 0, 1]], dtype=torch.float32), equal_nan=True)
    np.savez(tmp_path / "data.npz", y=np.array([1.5, -1, 2, 3]), **arrays)
    assert load(tmp_path, "node_regression").y.tolist() == [1.5, -1, 2, 3]
    np.savez(tmp_path / "data.npz", y=y + 1, batch=np.array([0, 1, 2, 3]), **arrays)
    with pytest.raises(DataError, match=r"y\[0\]: labels must be 0, 1 or nan \(not known\), got \[1\. 2\.\]"):
        load(tmp_path, "graph_multilabel")


@pytest.mark.parametrize(
    ("task", "header", "targets", "message"),
    [
        ("graph_multilabel", "label_a", ["0", "2"], r"graphs\.csv: line 3: label_a must be 0, 1 or empty, got 2"),
        (
            "graph_multilabel",
            "label",
            ["0", "1"],
            r"graphs\.csv: line 1: columns must be among graph, split, got label",
        ),
        ("graph_classification", "label", ["a", "1"], r"graphs\.csv: line 2: label must be an integer, got a"),
        ("graph_classification", "label", ["0", "a"], r"graphs\.csv: line 3: label must be an integer, got a"),
        ("graph_classification", "label", ["a", "a"], r"graphs\.csv: line 2: labels must have at least 2 classes"),
        ("graph_classification", "label", ["a", ""], r"graphs\.csv: line 2: label must be an integer, got a"),
    ],
)
def test_labels_that_break_a_rule_are_named(
    tmp_path: Path, task: str, header: str, targets: list[str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load(graphs(tmp_path, header, targets), task)


@pytest.mark.parametrize("kind", ["length", "bond"])
@pytest.mark.parametrize("quant", ["fp32", "int4"])
def test_features_of_edges_reach_a_gine(tmp_path: Path, kind: str, quant: str) -> None:
    """Two classes whose graphs differ in the features of their edges alone."""
    ids = range(20)
    values = [0.5, 2.5] if kind == "length" else [0, 1]
    folder = write(
        tmp_path / "own",
        graphs=["graph,split,label", *(f"{g},{SPLIT[g // 2 % 5]},{g % 2}" for g in ids)],
        nodes=["graph,node,mass", *(f"{g},{n},1.0" for g in ids for n in range(3))],
        edges=[
            f"graph,source,target,{kind}",
            *(f"{g},{a},{b},{values[g % 2]}" for g in ids for a, b in ((0, 1), (1, 2))),
        ],
    )
    words = [
        "dataset=folder",
        f"dataset.path={folder}",
        "model=gine",
        "model.hidden=8",
        f"quant={quant}",
        "method=naive",
    ]
    words += [
        "train.epochs=60",
        "train.lr=0.02",
        "protocol.trials=1",
        "threads=1",
        f"results.dir={tmp_path / 'results'}",
    ]
    assert run_all(load_configs(words), quiet=True) == 0
    (path,) = (tmp_path / "results").glob("runs/*/row.json")
    assert json.loads(path.read_text())["test_metric"] == 1.0
