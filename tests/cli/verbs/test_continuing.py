"""`dqrun continue`: more epochs of a run that kept its state."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dqrun.cli import main
from dqrun.composition.compose import load_configs
from dqrun.runs.row import read_row
from dqrun.sweep.run import run_all

SMALL = ["dataset.graphs=20", "model.hidden=8", "train.batch_size=8", "protocol.trials=2", "threads=1", "quant=int4"]
Capture = pytest.CaptureFixture[str]


def trained(results: Path, *words: str) -> list[Path]:
    run_all(load_configs([*SMALL, *words, f"results.dir={results}"]), quiet=True)
    return sorted((results / "runs").iterdir())


def failure(capsys: Capture, *words: object) -> str:
    assert main(["continue", *map(str, words)]) == 2
    *_, line = capsys.readouterr().err.splitlines()
    return line


def test_the_result_is_the_run_of_so_many_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    old = trained(tmp_path / "a", "train.epochs=1", "train.keep_state=true")
    assert main(["continue", old[1].name, "train.epochs=3", "--results", "a", "-q"]) == 0
    (new,) = set((tmp_path / "a" / "runs").iterdir()) - set(old)
    anew = tmp_path / "b" / "runs" / new.name
    assert anew in trained(tmp_path / "b", "train.epochs=3")
    rows = [read_row(folder / "row.json") for folder in (new, anew)]
    assert rows[0]["seed"] == 1 and rows[0]["epochs"] == 3
    for name in ("test_metric", "val_metric", "train_metric", "config_hash", "cell_hash"):
        assert rows[0][name] == rows[1][name]
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (new, anew))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert "must be > the 3 epochs of" in failure(capsys, new, "train.epochs=2")


def test_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(tmp_path)
    run = trained(tmp_path / "results", "train.epochs=1")[0]
    for words, message in [
        ([run.name, "train.epochs=2"], "must name a run trained with train.keep_state=true"),
        ([run.name, "train.lr=1"], "must be given train.epochs=N or threads=N alone, got 'train.lr=1'"),
        ([run.name, "threads=1"], "needs train.epochs=N"),
        ([run.name, "train.epochs=many"], "train.epochs must be an integer >= 0, got 'many'"),
        ([run.name], "required: train.epochs=N"),
        (["nothing", "train.epochs=2"], "there is no run 'nothing'"),
    ]:
        assert message in failure(capsys, *words)
