"""`dqrun.run` and `dqrun.results` on a few generated threads."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch

import dqrun
from dqrun.sweep.worker import Worker

SMALL = (
    *("dataset=threads", "dataset.graphs=20", "model=gin", "model.hidden=8", "model.layers=2", "train.epochs=1"),
    *("train.batch_size=8", "threads=1", "protocol.trials=1"),
)


def test_a_sweep_gives_a_row_for_each_trial_that_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = dqrun.run(*SMALL, "quant=int8,int4", "protocol.trials=2", results=tmp_path, progress=False)
    assert list(zip(first["quant"], first["seed"], strict=True)) == [("int8", 0), ("int8", 1), ("int4", 0), ("int4", 1)]
    assert (first["status"] == "done").all() and first["cell_hash"].nunique() == 2
    assert capsys.readouterr() == ("", "")
    again = dqrun.run(*SMALL, "quant=int4", results=tmp_path)  # known: the frame has it, and nothing else
    assert list(again["run_id"]) == [first["run_id"][2]]
    assert again["finished_utc"][0] == first["finished_utc"][2]
    assert "already done" in capsys.readouterr().err

    found = dqrun.results(tmp_path, "quant=int4", "seed<1", fields=["train.schedule.name", "model.mlp_layers"])
    assert list(found["run_id"]) == [first["run_id"][2]]
    assert found["train.schedule.name"][0] == "step" or found["train.schedule.name"][0] == "none"
    assert found["hidden"][0] == 8 and found["model.mlp_layers"][0] == found["mlp_layers"][0]
    assert len(dqrun.results([tmp_path])) == 4


def test_the_trial_of_a_warm_start_was_not_asked_for(tmp_path: Path) -> None:
    frame = dqrun.run(*SMALL, "quant=int8", "train.warm_start=fp32", results=tmp_path, progress=False)
    assert list(frame["quant"]) == ["int8"]
    assert set(dqrun.results(tmp_path)["quant"]) == {"fp32", "int8"}


def test_a_failed_trial_is_a_row_with_its_reason(tmp_path: Path) -> None:
    frame = dqrun.run(*SMALL, "quant=fp32", "train.lr=1e30", "train.epochs=3", results=tmp_path, progress=False)
    assert list(frame["status"]) == ["failed"] and "not finite" in frame["reason"][0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["quant=int3000"], "quant must be one of"),
        (["model.layers=0"], r"model\.layers must be in 1\.\.1000, got 0"),
        (["modle=gin"], "did you mean 'model'"),
    ],
)
def test_mistakes_are_dqruns_errors_of_one_line(tmp_path: Path, words: list[str], message: str) -> None:
    with pytest.raises(dqrun.ConfigError, match=message) as caught:
        dqrun.run(*SMALL, *words, results=tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(dqrun.ResultsError, match="must be a writable folder"):
        dqrun.run(*SMALL, results=tmp_path / "file")
    with pytest.raises(dqrun.ResultsError, match="no results in"):
        dqrun.results(tmp_path)
    with pytest.raises(dqrun.DqrunError):
        dqrun.results(tmp_path / ("x" * 5000))


def test_an_interruption_leaves_what_is_finished_and_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt, calls = Worker.attempt, []

    def interrupted(worker: Worker, planned: object) -> object:
        calls.append(planned)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGTERM)
        return attempt(worker, planned)  # type: ignore[arg-type]

    monkeypatch.setattr(Worker, "attempt", interrupted)
    with pytest.raises(KeyboardInterrupt):
        dqrun.run(*SMALL, "protocol.trials=2", results=tmp_path, progress=False)
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert not list((tmp_path / ".locks").glob("*.lock"))
    assert list(dqrun.results(tmp_path)["seed"]) == [0]
    assert list(dqrun.run(*SMALL, "protocol.trials=2", results=tmp_path, progress=False)["seed"]) == [0, 1]


def test_the_process_is_left_as_it_was(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    try:
        dqrun.run(*SMALL, results=tmp_path, progress=False)
        assert torch.get_num_threads() == 2 and torch.rand(1) == expected
    finally:
        torch.set_num_threads(threads)
