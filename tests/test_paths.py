"""Paths that a user types, also such as no system knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from dqrun.cli import main
from dqrun.paths import real_path, user_path


def test_home_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/of/mine")
    assert user_path("~/x") == Path("/home/of/mine/x")
    assert user_path("~nobody-of-that-name/x") == Path("~nobody-of-that-name/x")


def test_links(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    assert real_path(tmp_path / "loop").name == "loop"
    assert real_path(tmp_path / "link" / "x") == (tmp_path / "folder" / "x").resolve()


@pytest.mark.parametrize(
    "words",
    [
        ["ls", "~nobody-of-that-name"],
        ["ls", "x" * 5000],
        ["rm", "~nobody", "--results", "x" * 5000],
        ["compare", "loop"],
        ["show", "r", "--results", "loop"],
        ["--config-dir", "loop", "model=gin"],
        ["--config-dir", "~nobody/x", "model=gin"],
        ["predict", "x" * 5000, "--dataset", "threads"],
        ["bench", "training", "--json", "x" * 5000],
        ["results.dir=" + "x" * 5000, "dataset.graphs=10", "train.epochs=1"],
        ["-q", "dataset=folder", "dataset.path=" + "x" * 5000],
    ],
)
def test_a_path_that_no_system_takes_is_one_line(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("dqrun: ") and error.count("\n") == 1
