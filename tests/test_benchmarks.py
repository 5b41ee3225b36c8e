"""The page of figures says what the files of figures say, and the scripts run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch

from dqrun.composition.compose import load_configs
from dqrun.sweep.run import run_all


@pytest.fixture
def tables(repository: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    import tables

    return tables


def test_the_tables_are_those_of_the_files(tables, repository: Path) -> None:
    expected = (
        ("memory", "scaling", "summary", "operations"),
        ("c_export", "parity", "sizes"),
        ("codes", "steadiness"),
        ("store", "scale_full", "scale_sampled", "scale_growth"),
        ("speed", "processes"),
        ("plain_loop", "plain_tolokers"),
    )
    for name, blocks in zip(tables.PAGES, expected, strict=True):
        page = (repository / name).read_text(encoding="utf-8")
        assert all(f"<!-- {block} -->" in page for block in blocks)
        assert tables.filled(page) == page


def test_scaling_runs_on_small_graphs(repository: Path, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    script = repository / "benchmarks" / "scaling.py"
    command = [sys.executable, str(script), "--edges", "2000", "--threads", "1", "--json", str(file)]
    shown = subprocess.run(command, check=True, capture_output=True, text=True, cwd=repository).stdout
    results = json.loads(file.read_text(encoding="utf-8"))["results"]
    assert {line["shape"] for line in results} == {"uniform", "power law", "hub"}
    assert all(line["seconds"] > 0 for line in results)
    assert all(f"| `{line['kernel']}` |" in shown for line in results)


def test_scripts_on_runs_find_the_same_in_each_form(repository: Path, tmp_path: Path) -> None:
    small = ["dataset.graphs=20", "model.hidden=8", "train.batch_size=8", "protocol.trials=1", "threads=1"]
    epochs = ["train.epochs=3", "train.bn_reestimation=8", "method=naive", "quant=int4", "model=gin"]
    run_all(load_configs([*small, *epochs, f"results.dir={tmp_path}"]), quiet=True)
    (run,) = (tmp_path / "runs").iterdir()

    def found_by(script: str) -> dict[str, Any]:
        file = tmp_path / f"{script}.json"
        command = [sys.executable, str(repository / "benchmarks" / script), str(run), "--json", str(file)]
        shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        document = json.loads(file.read_text(encoding="utf-8"))
        assert document["command"] == f"benchmarks/{script}"
        assert [json.loads(line) for line in shown.splitlines()] == document["results"]
        return document["results"][0]

    history = pd.read_csv(run / "history.csv")["val_metric"]
    steady = found_by("steadiness.py")
    assert (steady["smallest"], steady["largest"]) == (history.min(), history.max())
    assert steady["mean"] == pytest.approx(history.mean())
    assert steady["train.bn_reestimation"] == 8
    shares = found_by("codes.py")["shares"]
    assert len(shares) == 3  # layers
    assert all(1 / 16 <= share <= 1 for share in shares)


def test_of_several_runs_the_median_one_is_kept_and_the_spread_of_all_shown(tables, repository: Path) -> None:
    import repeated

    document = json.loads((repository / "benchmarks/figures/training_zinc_gin.json").read_text(encoding="utf-8"))

    def run(ratio: float) -> dict[str, Any]:
        return {**document, "results": [{**line, "ratio_to_fastest_fp32_peer": ratio} for line in document["results"]]}

    kept = repeated.median_run([run(ratio) for ratio in (1.5, 1.1, 1.3)])
    assert repeated.ratios(kept)["dq_int8"] == 1.3
    assert "Of 3 runs" in tables.training_table(kept)
    assert "`dq_int8` 1.10 to 1.50" in tables.training_table(kept)
    other = {**document, "results": [{**line, "dataset": "Cora"} for line in document["results"]]}
    with pytest.raises(ValueError, match="different networks"):
        repeated.median_run([document, other])


def test_two_processes_are_compared_with_a_change_of_the_last_bits(
    tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import processes

    small = ["dataset=threads", "dataset.graphs=20", "model=gin", "model.hidden=8", "model.layers=2", "train.epochs=2"]
    monkeypatch.setattr(processes, "SETS", {"small": [*small, "train.batch_size=8", "quant=fp32"]})
    monkeypatch.setattr(processes, "TOGETHER", [])  # tests/sweep/launchers has two processes
    file = tmp_path / "figures.json"
    assert processes.main(["--trials", "2", "--json", str(file)]) == 0
    found = {line["way"]: line for line in json.loads(file.read_text(encoding="utf-8"))["results"]}
    assert list(found) == ["one", "nudged", "two", "codes"] and found["one"]["first_loss"] == found["two"]["first_loss"]
    linear = torch.nn.Linear(8, 8)
    before = linear.weight.detach().clone()
    processes.Nudge().restore(SimpleNamespace(model=linear))
    changed = (linear.weight / before - 1).abs()
    assert (changed > 0).float().mean() > 0.9 and changed.max() < 2.0**-22
    assert found["nudged"]["first_loss"] == pytest.approx(found["one"]["first_loss"], rel=1e-3)
    assert capsys.readouterr().out.splitlines()[2].startswith("| small | ")


def test_a_sweep_that_was_killed_equals_one_that_was_not(repository: Path) -> None:
    script = repository / "benchmarks" / "attacks" / "kills.py"
    command = [sys.executable, str(script), "--only", "plain", "--count", "1", "--seed", "2"]
    shown = subprocess.run(command, capture_output=True, text=True)
    assert shown.stdout.splitlines()[-1:] == ["attacks: 1, failures: 0"], shown.stdout + shown.stderr
