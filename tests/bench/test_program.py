"""`dqrun bench inference FILE|RUN`: a program of the user's, what stands beside it, and what is said without it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dqrun.bench import program as module
from dqrun.bench.inference_cli import main
from dqrun.bench.program import Batches, compare, percentile, rate
from dqrun.bench.subject import Subject, model_of
from dqrun.cli import main as dqrun
from dqrun.composition.compose import load_configs
from dqrun.errors import ConfigError, DataError, DqrunError
from dqrun.integer import load_program
from dqrun.prediction.graphs import find_graphs
from dqrun.sweep.run import run_all

WORDS = ["model=gin", "model.hidden=8", "model.head=[1]", "quant=int4", "plan=integer", "dataset.graphs=20"]
ONE = ["--dataset", "threads", "--batch", "8", "--threads", "1", "--rounds", "3"]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("results")
    small = ["train.epochs=1", "train.batch_size=8", "protocol.trials=1", "threads=1", f"results.dir={results}"]
    run_all(load_configs([*WORDS, *small]), quiet=True)
    (folder,) = (results / "runs").iterdir()
    return folder


@pytest.fixture(scope="module")
def file(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("programs") / "gin.dqp"
    assert dqrun(["export", str(run_folder), "-o", str(path)]) == 0
    return path


def batches_of(subject: Subject, size: int) -> Batches:
    return Batches.of(subject, find_graphs(["threads"], subject.predictor.trained_on, print), size)


def test_a_file_and_its_run(file: Path, run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(file), str(run_folder), *ONE, "--profile", "--json", str(tmp_path / "a.json")]
    assert main(words) == 0
    text, document = capsys.readouterr().out, json.loads((tmp_path / "a.json").read_text())
    assert f"{file} on THREADS" in text or f"{file} on threads" in text
    assert "FP32 networks have random weights" in text and "FP32 networks have the run's weights" in text
    variants = [line["variant"] for line in document["results"] if "dgl" not in line["variant"]]
    expected = ["int4", "int4_edge_index", "onnx", "pyg_fp32_edge_index", "pyg_fp32_csr", "pyg_bf16", "fp32"]
    assert [name for name in variants if name != "onnx"] == [name for name in expected if name != "onnx"] * 2
    for line in document["results"]:
        assert 0 < line["run_seconds"] <= line["p95_seconds"] and line["items_per_second"] > 0
        assert line["run"] == run_folder.name and line["model"] == "gin" and line["batch_size"] == 8
        assert (line["peak_bytes"] is None) == (line["variant"] == "onnx")
    operations = document["notes"][str(file)]["operations"]
    assert [each["target"] for each in operations] == [each.target for each in load_program(file).operations]
    assert math.isclose(sum(each["share"] for each in operations), 1)
    assert document["notes"][str(file)]["largest_difference_to_peers"] < 1e-5


def test_onnx_runtime_stands_beside_it(file: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")
    subject = Subject.load(str(file), Path("results"))
    measured, notes = compare(subject, batches_of(subject, 20), 1, profile=False)
    assert "onnx" in [line.variant for line in measured] and notes.onnx_difference_in_steps == 0
    assert notes.operations == []


def test_the_network_of_a_run_has_its_weights(run_folder: Path) -> None:
    subject = Subject.load(str(run_folder), Path("results"))
    assert subject.fp32 is not None and isinstance(subject.predictor.network.network, torch.nn.Module)  # type: ignore[attr-defined]
    trained = subject.predictor.network.network.state_dict()  # type: ignore[attr-defined]
    assert all(torch.equal(value, trained[name]) for name, value in subject.fp32.state_dict().items())


def test_batches_are_the_first_graphs(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = Subject.load(str(file), Path("results"))
    assert batches_of(subject, 8).items == [8, 8, 4]
    monkeypatch.setattr(module, "MOST_BATCHES", 2)
    batches = batches_of(subject, 3)
    assert batches.items == [3, 3] and [graph.num_graphs for _, graph in batches.inputs] == [3, 3]


def test_a_file_that_does_not_name_its_network(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = load_program(file)
    for model, reason in (
        (None, "dqrun export writes one that does"),
        ({**program.origin["model"], "hidden": "wide"}, "'wide'"),
        ({**program.origin["model"], "head": [None]}, "head must be a list of integers, got [None]"),
        ({**program.origin["model"], "head": 1}, "head must be a list of integers, got 1"),
        ("gin", "it holds no JSON object"),
        ({**program.origin["model"], "hidden": 60_000}, "its network is much larger than the program"),
        ({**program.origin["model"], "name": "mlp"}, "model.name must be one of"),
    ):
        origin = {name: value for name, value in program.origin.items() if name != "model"}
        replace(program, origin=origin | ({} if model is None else {"model": model})).save(tmp_path / "a.dqp")
        subject = Subject.load(str(tmp_path / "a.dqp"), Path("results"))
        assert subject.fp32 is None and subject.without.startswith("the file does not say which network it is (")
        assert reason in subject.without
    assert main([str(tmp_path / "a.dqp"), *ONE]) == 0
    text = capsys.readouterr().out
    assert "fp32 and its peers: left out, the file does not say" in text and "pyg" not in text


def test_the_model_of_a_file(file: Path) -> None:
    assert model_of(load_program(file).origin) == load_configs(WORDS)[0].model


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--dataset must name the graphs on which the program runs"),
        (["--dataset", "threads", "--batch", "0"], "--batch must be >= 1, got 0"),
        (["model=gcn", "--dataset", "threads"], "must get threads= alone beside files and flags, got 'model=gcn'"),
        (["--dataset", "threads", "--rounds", "0"], "--rounds must be >= 1, got 0"),
        (["threads=-1", "--dataset", "threads"], "threads must be an integer in 0..999999, got '-1'"),
        (["--dataset", "nowhere"], "--dataset must name a folder or file that is there"),
    ],
)
def test_mistakes(file: Path, words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        main([str(file), *words])


def test_other_mistakes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--batch must be given with a program's file or a run, got 8"):
        main(["graph=zinc", "--batch", "8"])
    with pytest.raises(ConfigError, match="--batch must be given with a program's file or a run, got 0"):
        main(["graph=zinc", "--batch", "0"])
    with pytest.raises(DqrunError, match=r"a program's file ends in \.dqp"):
        main(["nothing", "--dataset", "threads"])
    with pytest.raises(DataError):
        main([str(tmp_path / "missing.dqp"), "--dataset", "threads"])


def test_percentiles_and_rates() -> None:
    seconds = [float(i) for i in range(100, 0, -1)]
    assert (percentile(seconds, 95), percentile(seconds[:20], 95), percentile([2.0], 95)) == (95.0, 99.0, 2.0)
    assert rate([8, 4], [1.0, 1.0, 2.0]) == 20 / 4
