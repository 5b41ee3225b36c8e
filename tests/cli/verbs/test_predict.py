"""`dqrun predict` on graphs of the user's: their ids, missing labels, files of tensors; and embeddings of a run."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch_geometric.data import Data

from dqrun.cli import main
from dqrun.composition.compose import load_configs
from dqrun.runs.model_file import load_model
from dqrun.sweep.run import run_all

SMALL = ["model.hidden=8", "train.epochs=1", "protocol.trials=1", "threads=1", "dataset=folder"]
Capture = pytest.CaptureFixture[str]


def write_graphs(folder: Path, ids: list[int], labels: list[str] | None, sizes: Callable[[int], int]) -> Path:
    """Graphs with two features; each is a path, its edges in both directions."""
    folder.mkdir(parents=True)
    lines: dict[str, list[str]] = {"graphs": [], "nodes": [], "edges": []}
    for place, name in enumerate(ids):
        lines["graphs"].append(f"{name},{labels[place]}" if labels else f"{name}")
        for node in range(sizes(place)):
            lines["nodes"].append(f"{name},{node},{name % 3 + node / 10},{-name % 5}")
            lines["edges"] += [f"{name},{node},{node - 1}", f"{name},{node - 1},{node}"] if node else []
    headers = {
        "graphs": "graph,label" if labels else "graph",
        "nodes": "graph,node,a,b",
        "edges": "graph,source,target",
    }
    for name, rows in lines.items():
        (folder / f"{name}.csv").write_text("\n".join([headers[name], *rows]) + "\n")
    return folder


def write_nodes(folder: Path, ids: list[int]) -> Path:
    """One graph of nodes in the order of `ids`, each joined with its successor; features and class by the id."""
    folder.mkdir(parents=True)
    nodes = [f"{name},{name % 2},{name},{name**2 % 7}" for name in ids]
    edges = [f"{a},{b}" for i in ids for a, b in ((i, (i + 1) % len(ids)), ((i + 1) % len(ids), i))]
    (folder / "nodes.csv").write_text("\n".join(["node,label,a,b", *nodes]) + "\n")
    (folder / "edges.csv").write_text("\n".join(["source,target", *edges]) + "\n")
    return folder


def trained(results: Path, *words: str) -> Path:
    run_all(load_configs([*SMALL, *words, f"results.dir={results}"]), quiet=True)
    (folder,) = (results / "runs").iterdir()
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with training data of three classes in train/molecules."""
    folder = tmp_path_factory.mktemp("home")
    write_graphs(folder / "train" / "molecules", list(range(30)), [str(i % 3) for i in range(30)], lambda i: 3 + i % 4)
    yield folder


@pytest.fixture(scope="module")
def run(home: Path) -> Path:
    """A GIN trained on them, which can be exported."""
    path = f"dataset.path={home / 'train' / 'molecules'}"
    return trained(home / "results", path, "dataset.name=molecules", "model=gin", "quant=int8", "plan=integer")


@pytest.fixture(scope="module")
def program(home: Path, run: Path) -> Path:
    assert main(["export", str(run), "-o", str(home / "p.dqp")]) == 0
    return home / "p.dqp"


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def predicted(capsys: Capture, *words: object) -> list[dict[str, str]]:
    capsys.readouterr()
    assert main(["predict", *map(str, words)]) == 0
    return table(capsys.readouterr().out)


def test_lines_carry_the_ids_of_graphs(program: Path, tmp_path: Path, capsys: Capture) -> None:
    folder = write_graphs(tmp_path / "g", [17, 3, 900000000001], ["2", "0", "1"], lambda i: 3)
    lines = predicted(capsys, program, "--dataset", folder)
    assert {line["graph"]: line["target"] for line in lines} == {"17": "2", "3": "0", "900000000001": "1"}
    alone = write_graphs(tmp_path / "one", [3], ["0"], lambda i: 3)
    (line,) = predicted(capsys, program, "--dataset", alone)
    assert line == next(other for other in lines if other["graph"] == "3")


def test_lines_carry_the_ids_of_nodes(tmp_path: Path, capsys: Capture) -> None:
    ids = [7, 2, 9, 0, 4, 1, 8, 3, 6, 5, 10, 11]
    folder = write_nodes(tmp_path / "n", ids)
    run = trained(
        tmp_path / "r", f"dataset.path={folder}", "dataset.task=node_classification", "model=gcn", "quant=fp32"
    )
    lines = predicted(capsys, run, "--dataset", folder)
    assert {int(line["node"]): line["target"] for line in lines} == {i: str(i % 2) for i in ids}
    sorted_lines = predicted(capsys, run, "--dataset", write_nodes(tmp_path / "sorted", sorted(ids)))
    by_node = {line["node"]: line["prediction"] for line in sorted_lines}
    assert by_node == {line["node"]: line["prediction"] for line in lines}


@pytest.mark.parametrize(
    ("labels", "targets"),
    [
        (None, None),
        (["0", "2"], ["0", "2"]),  # a class is missing
        (["1", ""], ["1", ""]),
        (["7", "unknown"], ["7", "unknown"]),
    ],
)
def test_rules_for_labels_of_training_do_not_hold(
    labels: list[str] | None, targets: list[str] | None, program: Path, tmp_path: Path, capsys: Capture
) -> None:
    lines = predicted(capsys, program, "--dataset", write_graphs(tmp_path / "g", [5, 6], labels, lambda i: 2))
    assert [line.get("target") for line in lines] == (targets or [None, None])


def test_a_folder_is_taken_before_a_dataset_of_its_name(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(predicted(capsys, program, "--dataset", "molecules")) == 30
    (tmp_path / "molecules").mkdir()  # without graphs: of something else
    assert len(predicted(capsys, program, "--dataset", "molecules")) == 30
    (tmp_path / "molecules").rmdir()
    write_graphs(tmp_path / "molecules", [1, 2], None, lambda i: 2)
    assert main(["predict", str(program), "--dataset", "molecules"]) == 0
    shown = capsys.readouterr()
    assert [line["graph"] for line in table(shown.out)] == ["1", "2"]
    assert shown.err == "dqrun: --dataset molecules: this is the folder molecules, not the dataset of that name\n"


def tensors() -> dict[str, torch.Tensor]:
    return {"x": torch.tensor([[0.0, 1.0]] * 4), "edge_index": torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]])}


def test_graphs_are_called_by_the_numbers_of_batch(program: Path, tmp_path: Path, capsys: Capture) -> None:
    save_file({**tensors(), "batch": torch.tensor([3, 3, 17000000018, 17000000018])}, tmp_path / "g.safetensors")
    lines = predicted(capsys, program, "--dataset", tmp_path / "g.safetensors")
    assert [line["graph"] for line in lines] == ["3", "17000000018"] and "target" not in lines[0]


@pytest.mark.parametrize("several", [False, True])
def test_saved_data_of_pyg(several: bool, program: Path, tmp_path: Path, capsys: Capture) -> None:
    data = Data(**tensors(), y=torch.tensor([2]))
    torch.save([data, data] if several else data, tmp_path / "d.pt")
    lines = predicted(capsys, program, "--dataset", tmp_path / "d.pt")
    assert [(line["graph"], line["target"]) for line in lines] == [("0", "2"), ("1", "2")][: 1 + several]


def test_an_archive(program: Path, tmp_path: Path, capsys: Capture) -> None:
    np.savez(tmp_path / "d.npz", **{name: value.numpy() for name, value in tensors().items()})
    assert len(predicted(capsys, program, "--dataset", tmp_path / "d.npz")) == 1


class Unsafe:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('it ran')",)


def test_mistakes_are_one_line_of_our_own(program: Path, run: Path, tmp_path: Path, capsys: Capture) -> None:
    torch.save({"x": Unsafe()}, tmp_path / "unsafe.pt")
    torch.save({**tensors(), "x": torch.eye(4).to_sparse()}, tmp_path / "sparse.pt")
    for words, message in [
        ([program, "--dataset", tmp_path / "unsafe.pt"], "unsafe.pt: must hold tensors and nothing else"),
        ([program, "--dataset", tmp_path / "sparse.pt"], "sparse.pt: "),
        ([program, "--dataset", tmp_path / "none.pt"], "none.pt: no such file"),
        ([program, "--dataset", tmp_path / "none"], "none: no such file"),
        ([program, "--dataset", tmp_path], "must hold data.npz, or nodes.csv and edges.csv"),
        (
            [program, "--dataset", "nothing"],
            "--dataset must name a folder or file that is there (no such file), or one of molecules, ",
        ),
        ([program, "--dataset", "cora"], "Cora has one target for a node, the network one for a graph"),
        ([tmp_path / "none.dqp", "--dataset", "threads"], "none.dqp must be a program file that can be read"),
        (["nothing", "--dataset", "threads"], "RUN must be a run folder with model.safetensors, or a name in"),
        ([program, "--dataset", "molecules", "--embeddings", "e.npy"], "--embeddings needs a run with its network"),
        ([run, "--dataset", "molecules", "--embeddings", "e.txt"], "--embeddings must end in .npy or .csv"),
        ([run, "--dataset", "molecules", "-o", tmp_path / "no" / "p.csv"], "-o must name a file that can be written"),
    ]:
        assert main(["predict", *map(str, words)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("dqrun: ") and error.count("\n") == 1 and message in error and "\x1b" not in error


def test_predictions_and_embeddings_of_a_run(
    run: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """By the run's name; a program gives the same classes, and the head gives the logits of the embeddings."""
    monkeypatch.chdir(home)
    files = ["-o", tmp_path / "p.csv", "--embeddings", tmp_path / "e.npy"]
    predicted(capsys, run.name, "--dataset", "molecules", *files)
    lines = table((tmp_path / "p.csv").read_text())
    states = torch.from_numpy(np.load(tmp_path / "e.npy"))
    model, _ = load_model(run / "model.safetensors")
    with torch.no_grad():
        logits = model.head(states)
    assert states.shape == (30, 8) and states.dtype == torch.float32
    assert [[float(line[f"logit_{c}"]) for c in range(3)] for line in lines] == pytest.approx(logits.numpy(), abs=1e-7)
    predicted(capsys, run, "--dataset", "molecules", "--embeddings", tmp_path / "e.csv")
    with (tmp_path / "e.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["graph", *(f"e{i}" for i in range(8))]
    assert torch.tensor([[float(row[f"e{i}"]) for i in range(8)] for row in rows]).equal(states)


def test_a_failing_output_leaves_the_old_file(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    file = tmp_path / "p.csv"
    file.write_text("old")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dqrun.cli.verbs.predictions.write_predictions", full)
    assert main(["predict", str(run), "--dataset", "molecules", "-o", str(file)]) == 2
    assert "-o must name a file that can be written" in capsys.readouterr().err
    assert file.read_text() == "old" and list(tmp_path.iterdir()) == [file]


def test_a_fp32_run_of_a_node_task_gives_the_metric_of_its_row(tmp_path: Path, capsys: Capture) -> None:
    from dqrun.data.dataset import load_dataset
    from dqrun.data.splits import split_for
    from dqrun.runs.row import read_row

    folder = write_nodes(tmp_path / "n", list(range(40)))
    words = [f"dataset.path={folder}", "dataset.task=node_classification", "model=gat", "quant=fp32", "train.epochs=3"]
    run = trained(tmp_path / "r", *words)
    row, (_, config) = read_row(run / "row.json"), load_model(run / "model.safetensors")
    test = split_for(load_dataset(config.dataset, config.data), config.protocol, None).test.tolist()
    lines = predicted(capsys, run, "--dataset", folder, "--embeddings", tmp_path / "e.npy")
    hits = [lines[node]["prediction"] == lines[node]["target"] for node in test]
    assert sum(hits) / len(hits) == pytest.approx(row["test_metric"])
    assert len(np.load(tmp_path / "e.npy")) == 40
