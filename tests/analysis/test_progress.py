"""What a person is told, and when."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dqrun.analysis import running as module
from dqrun.analysis.progress import Progress, title
from dqrun.composition.compose import load_configs
from dqrun.runs.protocol import Trial
from dqrun.runs.row import Row, write_row
from dqrun.runs.store import Results
from dqrun.training.state import Epoch

EPOCH = Epoch(3, 0.5, 0.6, 0.7, 0.1, 1.0)


def test_titles() -> None:
    (config,) = load_configs(["model=gcn", "quant=int4"])
    assert title(config, Trial(2)) == "threads gcn int4 dq seed 2"
    (config,) = load_configs(["quant=fp32"])
    assert title(config, Trial(0, 4)) == "threads gin fp32 fold 4"


def test_without_a_terminal_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (config,) = load_configs([])
    with Progress().trial(config, Trial(0)) as report:
        report(EPOCH)
        assert capsys.readouterr().err == ""
        monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0.0)
        report(EPOCH)
    assert "epoch 3 of 40, loss 0.5000, val 0.7000" in capsys.readouterr().err


def test_on_a_terminal_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (config,) = load_configs([])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    progress = Progress()
    with progress.trial(config, Trial(0)) as report:
        report(EPOCH)
    assert "threads gin int8 dq seed 0" in capsys.readouterr().err


def test_trials_in_other_processes_have_a_line_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = Progress()
    progress.plan("plan: 5 trials", to_do=5, known=0)
    capsys.readouterr()
    progress.heard("a", "gin seed 0", 40, EPOCH)
    progress.heard("b", "gin seed 1", 40, EPOCH)
    progress.unheard("b")
    progress.heard("c", "gin seed 2", 40, EPOCH)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0.0)
    progress.heard("a", "gin seed 0", 40, replace(EPOCH, epoch=4))
    assert capsys.readouterr().err.splitlines() == [
        "gin seed 0: epoch 4 of 40, loss 0.5000, val 0.7000",
        "gin seed 2: epoch 3 of 40, loss 0.5000, val 0.7000",
    ]


def test_trials_in_other_processes_have_a_bar_each_up_to_a_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(module, "MOST_BARS", 2)
    progress = Progress()
    progress.plan("plan: 5 trials", to_do=5, known=0)
    for label in ("a", "b", "c"):
        progress.heard(label, f"trial {label}", 4, EPOCH)
    progress.heard("a", "its start", 4, EPOCH)
    progress.close()
    shown = capsys.readouterr().err
    assert all(text in shown for text in ("trial a", "trial b", "its start", "0 of 5 trials done"))
    assert "trial c" not in shown


def test_notes_and_complaints_are_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    for _ in range(2):
        progress.note("synthetic")
        progress.complain(["row.json is damaged"])
    assert capsys.readouterr().err.splitlines() == ["synthetic", "dqrun: row.json is damaged"]


def test_quiet_says_failures_only(tmp_path: Path, row: Row, capsys: pytest.CaptureFixture[str]) -> None:
    results = Results(tmp_path)
    with results.writing(row.run_id) as folder:
        write_row(folder, row)
    results.rebuild_tables()
    progress = Progress(quiet=True)
    progress.finished(vars(row))
    progress.summary({row.cell_hash: results})
    assert capsys.readouterr() == ("", "")
    progress.finished(vars(replace(row, status="failed", reason="training loss is nan in epoch 2")))
    assert "r0 failed: training loss is nan in epoch 2" in capsys.readouterr().err
    progress.rows = progress.rows[1:]
    progress.summary({row.cell_hash: results})
    assert capsys.readouterr().err == ""  # the line of a trial that was the only one has said it
    progress.rows *= 2
    progress.summary({row.cell_hash: results})
    assert capsys.readouterr().err.startswith("dqrun: 2 of 2 trials failed:\n  r0: training loss is nan in epoch 2")


def test_summary_before_any_table_exists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Progress().summary({"c": Results(tmp_path)})
    assert "no trials" in capsys.readouterr().out
