"""The main job end to end, on a few generated threads."""

import errno
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from dqrun.cli import main
from dqrun.composition.compose import load_configs
from dqrun.config import RunConfig
from dqrun.errors import ConfigError
from dqrun.runs.model_file import load_model
from dqrun.runs.store import Results
from dqrun.sweep.locks import Heartbeat, LockFile
from dqrun.sweep.plan import make_plan
from dqrun.sweep.run import run_all

SMALL = [
    "dataset.graphs=20",
    "model.hidden=8",
    "model.layers=2",
    "train.epochs=2",
    "train.batch_size=8",
    "protocol.trials=1",
    "threads=1",
]
Make = Callable[..., RunConfig]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Composes a small run with further overrides; results go to a temporary folder."""

    def make(*overrides: str) -> RunConfig:
        (config,) = load_configs([*SMALL, f"results.dir={tmp_path / 'results'}", *overrides])
        return config

    return make


def rows(tmp_path: Path) -> pd.DataFrame:
    return pd.read_csv(tmp_path / "results" / "trials.csv")


@pytest.mark.parametrize("model", ["gcn", "gat", "gin"])
def test_every_method_records_a_row(make: Make, tmp_path: Path, model: str) -> None:
    methods = ["naive", "noisy", "dq", "ptq"]
    configs = [make(f"model={model}", f"method={method}", "quant=int4") for method in methods]
    configs += [make(f"model={model}", "quant=fp32"), make(f"model={model}", "plan=integer", "quant=w4a8")]
    assert run_all(configs, quiet=True) == 0
    table = rows(tmp_path)
    assert list(table["method"]) == [*methods, "none", "dq"]
    assert list(table["quant"]) == ["int4"] * 4 + ["fp32", "w4a8"]
    assert (table["status"] == "done").all()
    assert table[["train_metric", "val_metric", "test_metric"]].notna().all().all()
    assert list(table["p_max"].notna()) == [False, False, True, False, False, True]


def test_a_run_folder_holds_all_that_is_needed(make: Make, tmp_path: Path) -> None:
    config = make("quant=int4")
    assert run_all([config], quiet=True) == 0
    (folder,) = (tmp_path / "results" / "runs").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.yaml",
        "history.csv",
        "model.safetensors",
        "row.json",
    ]
    assert list(pd.read_csv(folder / "history.csv")["epoch"]) == [1, 2]
    model, saved = load_model(folder / "model.safetensors")
    assert replace(saved, results=config.results) == config
    assert not model.training


def test_same_command_same_bits(make: Make, tmp_path: Path) -> None:
    measured = []
    for again in ("first", "second"):
        config = make("quant=int4", f"results.dir={tmp_path / again}", "train.epochs=3")
        run_all([config], quiet=True)
        (folder,) = (tmp_path / again / "runs").iterdir()
        row = json.loads((folder / "row.json").read_text())
        history = pd.read_csv(folder / "history.csv").drop(columns="seconds")
        measured.append((row["test_metric"], row["val_metric"], history.to_dict("list")))
    assert measured[0] == measured[1]


def test_observed_epochs_are_those_of_observed_steps(make: Make, tmp_path: Path) -> None:
    histories = []
    for words in (["method.learned_scale=false"], ["method.learned_scale=true", "method.observe_epochs=2"]):
        run_all([make("quant=int4", "method=dq", "train.epochs=3", *words)], quiet=True)
        path = max((tmp_path / "results" / "runs").glob("*/history.csv"), key=os.path.getmtime)
        histories.append(pd.read_csv(path)[["train_loss", "val_loss", "val_metric"]].to_numpy())
    assert (histories[0][:2] == histories[1][:2]).all() and (histories[0][2] != histories[1][2]).any()


@pytest.mark.parametrize("method", ["dq", "noisy"])
def test_delayed_epochs_are_those_of_fp32(make: Make, tmp_path: Path, method: str) -> None:
    delayed = f"method={method}", "method.learned_scale=true", "method.delay_epochs=2"
    losses = []
    for words in (["quant=fp32"], ["quant=int4", *delayed]):
        run_all([make(*words, "train.epochs=3")], quiet=True)
        path = max((tmp_path / "results" / "runs").glob("*/history.csv"), key=os.path.getmtime)
        losses.append(pd.read_csv(path)[["train_loss", "val_loss"]].to_numpy())
    assert (losses[0][:2] == losses[1][:2]).all() and (losses[0][2] != losses[1][2]).all()


def test_the_global_random_state_is_left_alone(make: Make) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    run_all([make()], quiet=True)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_trial_is_not_run_twice(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_all([make()], quiet=True)
    first = rows(tmp_path)["finished_utc"].tolist()
    marker = next((tmp_path / "results" / "runs").iterdir()) / "marker"
    marker.touch()
    assert run_all([make("protocol.trials=2")]) == 0
    assert "already done" in capsys.readouterr().err
    assert len(rows(tmp_path)) == 2 and rows(tmp_path)["finished_utc"].iloc[0] == first[0]
    run_all([make("rerun=true")], quiet=True)
    assert not marker.exists()


def test_a_loss_that_is_not_finite_is_recorded_as_failed(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make("quant=fp32", "train.lr=1e30", "train.epochs=5", "model.mlp_norm=false")
    assert run_all([config], quiet=True) == 1
    (row,) = rows(tmp_path).to_dict("records")
    assert row["status"] == "failed" and "loss is" in row["reason"] and pd.isna(row["test_metric"])
    (cell,) = pd.read_csv(tmp_path / "results" / "summary.csv").to_dict("records")
    assert (cell["trials"], cell["failed"]) == (0, 1) and pd.isna(cell["test_mean"])
    assert "failed: " in capsys.readouterr().err


def test_a_full_disk_fails_the_trial_only(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_all([make()], quiet=True)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("dqrun.runs.outcome.save_model", full)
    assert run_all([make("protocol.first_seed=1")], quiet=True) == 1
    assert "no space left" in capsys.readouterr().err
    assert len(rows(tmp_path)) == 1
    assert len(list((tmp_path / "results" / "runs").iterdir())) == 1


def test_an_interrupt_leaves_no_half_written_folder(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dqrun.runs.outcome.save_model", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_all([make()], quiet=True)
    assert list((tmp_path / "results" / "runs").iterdir()) == []


@pytest.mark.parametrize(
    ("minutes", "kept"), [("1e-9", "its checkpoint is "), ("0", "it has no checkpoint and will begin anew; ")]
)
def test_an_interrupt_says_which_trial_it_stopped_and_where_that_goes_on(
    minutes: str, kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    epochs: list[int] = []

    def check(beat: Heartbeat) -> None:
        epochs.append(len(epochs))
        if len(epochs) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Heartbeat, "check", check)
    words = [f"train.checkpoint_minutes={minutes}", "train.epochs=3", f"results.dir={tmp_path}"]
    assert main([*SMALL, *words]) == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("dqrun: interrupted; threads-gin-") and "stopped after epoch 2 of 3, " + kept in last
    assert last.endswith("; finished trials are kept, the same command goes on")
    assert all(path.name in last for path in tmp_path.glob(".checkpoints/*"))


def test_initial_weights_and_batches_are_shared_by_methods(make: Make, tmp_path: Path) -> None:
    """With a learning rate of almost nothing, the first epoch of FP32 and of a bypassed quantiser is the same."""
    configs = [make("quant=fp32", "train.lr=1e-20"), make("quant=int8", "method=ptq", "train.lr=1e-20")]
    run_all(configs, quiet=True)
    losses = [
        pd.read_csv(path)["train_loss"].tolist()
        for path in sorted((tmp_path / "results" / "runs").glob("*/history.csv"))
    ]
    assert losses[0] == losses[1]


def test_summary_names_trials_time_and_files(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_all([make("protocol.trials=2", "quant=int4")])
    captured = capsys.readouterr()
    assert "95 % CI" in captured.out and "2 trials in" in captured.out
    assert str(tmp_path / "results" / "summary.csv") in captured.out
    assert "SYNTHETIC" in captured.err
    run_all([make("protocol.trials=3", "quant=int4")], quiet=True)
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == ""


@pytest.mark.skipif(torch.cuda.is_available(), reason="a machine without CUDA is needed")
def test_cuda_without_cuda(make: Make) -> None:
    with pytest.raises(ConfigError, match="device must be cpu on a machine without CUDA, got 'cuda'"):
        run_all([make("device=cuda")], quiet=True)


def test_damaged_earlier_row_is_named_and_kept(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = Results(tmp_path / "results")
    (results.runs / "old").mkdir()
    (results.runs / "old" / "row.json").write_text("{")
    assert run_all([make()], quiet=True) == 0
    assert "row.json is damaged and was skipped" in capsys.readouterr().err
    assert (results.runs / "old" / "row.json").exists()


def test_two_sweeps_share_a_folder(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other sweep has begun the first of two trials; when it lets go of it unfinished, this one runs it."""
    config = make("protocol.trials=2")
    results = Results(config.results.dir)
    first = make_plan([config]).to_do[0].name
    lock = LockFile(results.lock_path(first))
    lock.acquire()
    monkeypatch.setattr("dqrun.sweep.launchers.plain.time.sleep", lambda seconds: lock.release())
    assert run_all([config]) == 0
    said = capsys.readouterr().err
    assert f"waiting for process {os.getpid()} on " in said and "(1 trial at first)" in said
    assert said.index("s1-") < said.index("waiting for") < said.index(first)
    assert len(rows(tmp_path)) == 2
    assert not (tmp_path / "results" / ".locks").exists()


def test_a_sweep_goes_on_after_failures_and_lists_them(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, absent = make("quant=fp32", "train.lr=1e30"), make("dataset=folder", f"dataset.path={tmp_path / 'absent'}")
    assert run_all([bad, absent, make()]) == 1
    said = capsys.readouterr().err
    assert "plan: 3 trials of 3 configurations, 3 to do" in said
    listed = said[said.index("2 of 3 trials failed:") :].splitlines()
    assert "loss is" in listed[1] and "absent" in listed[2] and all("(see runs/" in line for line in listed[1:])
    table = rows(tmp_path)
    assert sorted(table["status"]) == ["done", "failed", "failed"]
    for log in table["log"].dropna():
        assert (tmp_path / "results" / log).read_text().strip()


def test_an_unreadable_dataset_ends_a_command_for_it_alone(make: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be an existing folder"):
        run_all([make("dataset=folder", f"dataset.path={tmp_path / 'absent'}")])
    assert [path.name for path in (tmp_path / "results").rglob("*")] == ["runs"]


def test_launcher_and_jobs_are_those_of_the_whole_sweep(make: Make) -> None:
    with pytest.raises(ConfigError, match="must be the same for all configurations"):
        run_all([make(), make("launcher=parallel")], quiet=True)


@pytest.mark.parametrize(("launcher", "module"), [("slurm", "submitit"), ("ray", "ray")])
def test_a_missing_extra_is_one_line(make: Make, monkeypatch: pytest.MonkeyPatch, launcher: str, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"launcher={launcher} needs the extra \[{launcher}\]: pip install"):
        run_all([make(f"launcher={launcher}")], quiet=True)
