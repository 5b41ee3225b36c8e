"""`dqrun tune` from its command line to its preset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dqrun.cli import main
from dqrun.composition.compose import load_configs
from dqrun.errors import ConfigError
from dqrun.tune import command, preset

pytest.importorskip("optuna", reason="needs the extra [tune]")
SMALL = [
    *("dataset.graphs=20", "model.hidden=8", "model.layers=2", "train.epochs=2", "train.batch_size=8", "threads=1"),
    *("protocol.trials=1", "quant=int4", "method=naive,dq"),
]


def tune(folder: Path, *arguments: str) -> int:
    return main(["tune", *SMALL, f"results.dir={folder}", *arguments])


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    paths = (folder / "runs").glob("*/row.json")
    found = {path.parent.name: json.loads(path.read_text()) for path in paths}
    return {name: {"val": row["val_metric"], "test": row["test_metric"]} for name, row in found.items()}


def presets(folder: Path) -> dict[str, str]:
    paths = sorted((folder / "tune" / "configs" / "experiment").glob("*.yaml"))
    return {path.stem: path.read_text() for path in paths}


def body(preset: str) -> str:
    return "\n".join(line for line in preset.splitlines() if not line.startswith("#"))


def test_each_method_has_the_same_budget_and_a_preset_that_reproduces_its_best_trial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune(tmp_path, "--trials", "3") == 0
    said = capsys.readouterr()
    assert said.err.count(": trial ") == 6 and "SYNTHETIC" in said.err
    searched = rows(tmp_path / "tune")
    assert len(searched) == 6
    assert all(row["test"] is None for row in searched.values()), "test data is not read"
    found = presets(tmp_path)
    assert len(found) == 2
    for name, text in found.items():
        assert f"experiment={name}" in said.out
        assert "The best of 3 settings by validation accuracy" in text and "Found by: dqrun tune" in text
        configs = ["--config-dir", str(tmp_path / "tune" / "configs"), f"experiment={name}"]
        assert main([*configs, "threads=1", f"results.dir={tmp_path}", "-q"]) == 0
    for run, row in rows(tmp_path).items():
        assert row["val"] == searched[run]["val"] and row["test"] is not None


def test_the_first_setting_is_the_default_so_that_none_is_worse(tmp_path: Path) -> None:
    assert tune(tmp_path, "--trials", "2", "-q") == 0
    assert main(["-m", *SMALL, f"results.dir={tmp_path}", "-q"]) == 0
    for name, row in rows(tmp_path).items():
        assert rows(tmp_path / "tune")[name]["val"] == row["val"]


def test_a_search_that_was_stopped_goes_on_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tune(tmp_path / "whole", "--trials", "3", "-q") == 0
    calls = 0
    run_plan = command.run_plan

    def interrupted(*arguments: Any) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return run_plan(*arguments)

    monkeypatch.setattr(command, "run_plan", interrupted)
    assert tune(tmp_path / "stopped", "--trials", "3", "-q") == 130
    assert tune(tmp_path / "stopped", "--trials", "3", "-q") == 0
    assert rows(tmp_path / "stopped" / "tune") == rows(tmp_path / "whole" / "tune")
    bodies = [list(map(body, presets(tmp_path / name).values())) for name in ("whole", "stopped")]
    assert bodies[0] == bodies[1]
    left = tmp_path / "stopped" / "tune" / ".checkpoints"  # of a command that was killed at its very end
    left.mkdir()
    part = next((tmp_path / "stopped" / "tune" / "configs" / "experiment").iterdir())
    part = part.with_name(f".{part.stem[:60]}.0123456789ab.part.yaml")
    part.touch()
    assert tune(tmp_path / "stopped", "--trials", "3", "-q") == 0  # nothing left to do
    assert not left.exists() and not part.exists()
    assert len(rows(tmp_path / "stopped" / "tune")) == 6


def test_settings_that_fail_are_no_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["method=naive", "train.lr=1e30", f"results.dir={tmp_path}"]
    assert main(["tune", *SMALL[:-1], *words, "--trials", "1", "-q"]) == 1
    assert "no setting gave a result in threads_gin_int4_naive" in capsys.readouterr().err
    assert presets(tmp_path) == {}


def test_a_preset_that_cannot_be_read_back_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unseen(*_: object, **named: object) -> None:
        raise ConfigError("experiment must be one of a, b")

    monkeypatch.setattr(preset, "load_configs", unseen)
    assert main(["tune", *SMALL[:-1], f"results.dir={tmp_path}", "--trials", "1", "-q"]) == 2
    error = capsys.readouterr().err
    assert f"dqrun: {tmp_path}" in error and "could not be read back: experiment must be one of a, b" in error


def test_a_preset_keeps_what_the_command_line_and_an_experiment_said(tmp_path: Path) -> None:
    words = ["experiment=reddit_released_int4_dq", "dataset=threads", "plan.fp32=['head.**']", "train={epochs: 2}"]
    assert main(["tune", *SMALL[:-2], *words, f"results.dir={tmp_path}", "--trials", "1", "-q"]) == 0
    (name,) = presets(tmp_path)
    (config,) = load_configs([f"experiment={name}"], config_dir=str(tmp_path / "tune" / "configs"))
    assert (config.method.estimator, config.plan.fp32, config.train.epochs) == ("clipped_ends", ["head.**"], 2)
    assert config.dataset.name == "threads"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trials", "0"], "--trials must be >= 1, got 0"),
        (["--trials", "many"], "invalid int value: 'many'"),
        (["--search", "lr,depth"], "--search must name settings"),
        (["~experiment"], "~experiment can't be put into a preset"),
        (["quant=int5"], "did you mean 'int8'?"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune", f"results.dir={tmp_path / 'r'}", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_rounds_are_as_large_as_the_launcher_has_room(tmp_path: Path) -> None:
    configs = load_configs(["launcher=parallel", "jobs=8", "protocol.trials=2"])
    assert command.settings_at_once(configs) == 4
    assert command.settings_at_once(load_configs([])) == 1


def test_any_launcher_will_do(tmp_path: Path) -> None:
    words = ["method=naive", "--trials", "2", "-q"]
    assert tune(tmp_path / "plain", *words) == 0
    assert tune(tmp_path / "parallel", *words, "launcher=parallel", "jobs=1") == 0
    assert rows(tmp_path / "plain" / "tune") == rows(tmp_path / "parallel" / "tune")


def test_widths_are_searched_with_a_price_for_bits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Among settings of one accuracy the narrowest is the best; the preset states lists, and reproduces the trial."""
    words = ["method=sgquant", "quant.activation_granularity=row", "model=gcn", f"results.dir={tmp_path}"]
    small = [word for word in SMALL if not word.startswith("method=")]
    search = ["--trials", "4", "--search", "feature_bits,layer_bits,bucket_bits", "--bits-weight", "10"]
    assert main(["tune", *small, *words, *search]) == 0
    said = capsys.readouterr()
    assert "validation accuracy - 10 average_bits" in said.err
    paths = (tmp_path / "tune" / "runs").glob("*/row.json")
    found = [json.loads(path.read_text()) for path in paths]
    values = [row["val_metric"] - 10 * row["average_bits"] for row in found]
    best = found[values.index(max(values))]
    assert best["average_bits"] == min(row["average_bits"] for row in found)
    ((name, text),) = presets(tmp_path).items()
    assert "bucket_bits:\n  - " in text and "by validation accuracy - 10 average_bits" in text
    configs = ["--config-dir", str(tmp_path / "tune" / "configs"), f"experiment={name}"]
    assert main([*configs, "threads=1", f"results.dir={tmp_path}", "-q"]) == 0
    assert rows(tmp_path)[best["run_id"]]["val"] == best["val_metric"]


@pytest.mark.parametrize("weight", ["-1", "nan", "inf"])
def test_a_price_that_is_none(weight: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "--bits-weight", weight]) == 2
    assert f"--bits-weight must be >= 0 and finite, got {float(weight)}" in capsys.readouterr().err
