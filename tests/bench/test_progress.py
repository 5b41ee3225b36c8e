"""What a benchmark says while it measures, and when it is interrupted."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from dqrun.bench import command
from dqrun.bench.progress import stage
from dqrun.cli import main


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_stage_is_a_bar_on_a_terminal_and_a_line_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with stage("cora, gcn: 2 rounds", 2) as tick:
        tick()
    assert capsys.readouterr().err == "cora, gcn: 2 rounds ...\n"
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with stage("cora, gcn: 2 rounds", 2) as tick:
        tick()
        tick()
    assert "cora, gcn: 2 rounds:   0%" in terminal.getvalue()


def test_an_interrupted_benchmark_says_what_is_lost_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dqrun.bench.training.compare", interrupted)
    assert main(["bench", "training", "--json", str(tmp_path / "x.json")]) == 130
    assert capsys.readouterr().err == (
        "dqrun: interrupted; the tables above are complete, the current measurement is lost, no JSON file was written\n"
    )
    assert not list(tmp_path.iterdir())


def test_an_old_file_of_figures_stays_until_there_are_new_ones(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text("old")
    assert command.writable(str(file)) == file and file.read_text() == "old"
    command.write(file, [])
    assert json.loads(file.read_text())["results"] == []
    assert list(tmp_path.iterdir()) == [file]
