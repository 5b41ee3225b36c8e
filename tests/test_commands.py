"""Every command of README.md and of the documentation is one that dqrun accepts; benchmarks/commands.py runs them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dqrun.errors import ConfigError
from dqrun.plugins.loading import forget

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import commands

sys.path.pop(0)

ROOT = Path(__file__).parents[1]
OF_DQRUN = [command for command in commands.commands() if command.words[0] == "dqrun"]
OTHERS = {
    "pip",
    "python",
    "pytest",
    "ruff",
    "mypy",
    "cmake",
    "echo",
    "git",
    "source",
    ".ci/run",
    "pre-commit",
    "torchrun",
    "srun",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder with the files that pages name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    commands.write_plugins(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("dqrun_plugin_")]:
        forget(name)


def test_there_are_commands_on_many_pages() -> None:
    assert len(OF_DQRUN) > 80 and len({command.page for command in OF_DQRUN}) > 15


@pytest.mark.parametrize("command", OF_DQRUN, ids=lambda command: f"{command.page}: {command.line[:60]}")
def test_dqrun_accepts_it(command: commands.Command, folder: Path) -> None:
    if "experiment=threads_" in command.line:  # a preset that the command before writes
        return
    commands.check(command.words[1:])


def test_a_wrong_command_is_refused() -> None:
    for wrong in ("model=gin quant=int3000", "compare --rowz model", "export"):
        with pytest.raises(ConfigError):
            commands.check(wrong.split())


def test_all_other_commands_are_known_programs() -> None:
    first = {command.words[0] for command in commands.commands()} - {"dqrun"}
    assert {word for word in first if "=" not in word} <= OTHERS


def test_the_record_has_outcomes() -> None:
    record = commands.read_record()
    if not record:
        pytest.skip("no command was recorded: python benchmarks/commands.py")
    failed = {key for key, each in record.items() if each["outcome"] != "done" and "not run" not in each["outcome"]}
    assert not failed
