"""What a search has asked for: written whole, read strictly, suggested again when it is damaged."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dqrun.composition.compose import load_jobs
from dqrun.config.search import Dimension
from dqrun.errors import ResultsError
from dqrun.sweep.owner import Owner
from dqrun.tune import rounds as module
from dqrun.tune.rounds import Rounds
from dqrun.tune.space import space_of
from dqrun.tune.study import Search, Tried

SPACE = [Dimension("lr", ("train.lr",), 1e-3, 1e-1, 1e-2), Dimension("dropout", ("model.dropout",), 0.0, 0.5, 0.0)]
FIRST = [{"lr": 0.01, "dropout": 0.0}]
SECOND = [{"lr": 0.02, "dropout": 0.1}, {"lr": 0.03, "dropout": 0.2}]


@pytest.fixture
def rounds(tmp_path: Path) -> Rounds:
    rounds = Rounds(tmp_path, "gin", SPACE)
    with rounds.alone(print):
        rounds.write(0, FIRST)
        rounds.write(1, SECOND)
    return rounds


def test_rounds_are_read_as_they_were_written_and_leave_no_lock(rounds: Rounds, tmp_path: Path) -> None:
    assert rounds.read(pytest.fail) == [FIRST, SECOND] and rounds.sizes() == {0: 1, 1: 2}
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert files == ["studies/gin/round-0000-1.json", "studies/gin/round-0001-2.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["studies"]


def with_value(value: Any) -> bytes:
    settings = [SECOND[0], {**SECOND[1], "lr": value}]
    return json.dumps({"format": module.FORMAT, "study": "gin", "settings": settings}).encode()


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"\xff", b"3", b"[]", b"[" * 100_000),
        *(with_value(value) for value in (float("nan"), 1.0, True, "0.01", None, [])),
        json.dumps({"format": module.FORMAT, "study": "gat", "settings": SECOND}).encode(),
        json.dumps({"format": module.FORMAT, "study": "gin", "settings": SECOND[:1]}).encode(),
        json.dumps({"format": "other", "study": "gin", "settings": SECOND}).encode(),
        json.dumps({"format": module.FORMAT, "study": "gin", "settings": [{"lr": 0.01}, {}]}).encode(),
    ],
)
def test_a_damaged_round_is_named_and_ends_what_is_known(rounds: Rounds, content: bytes) -> None:
    path = rounds.folder / "round-0001-2.json"
    path.write_bytes(content)
    said: list[str] = []
    assert rounds.read(said.append) == [FIRST] and len(said) == 1
    assert said[0].startswith(f"{path} is damaged: its settings are suggested again (") and "\n" not in said[0]


def test_foreign_files_do_not_matter_but_a_folder_is_named(rounds: Rounds) -> None:
    (rounds.folder / "round-x.json").touch()
    assert rounds.read(pytest.fail) == [FIRST, SECOND]
    (rounds.folder / "round-0002-1.json").mkdir()
    said: list[str] = []
    assert rounds.read(said.append) == [FIRST, SECOND] and "(Is a directory)" in said[0]


def test_another_process_that_asks_is_waited_for(
    rounds: Rounds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / ".locks" / "study-gin.lock"
    lock.parent.mkdir()
    lock.write_text(replace(Owner.new(), machine="elsewhere").to_json())
    monkeypatch.setattr(module.time, "sleep", lambda seconds: lock.unlink())
    said: list[str] = []
    with rounds.alone(said.append):
        assert lock.exists()
    assert said == [f"gin: waiting for process {os.getpid()} on {Owner.new().host}, which asks as well"]


def test_a_file_system_that_refuses_is_one_line(rounds: Rounds, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(module, "write_text", full)
    with pytest.raises(ResultsError, match=r"could not write .*round-0002-1\.json: No space left"), rounds.alone(print):
        rounds.write(2, FIRST)
    (rounds.folder.parent.parent / ".locks" / "study-gin.lock").mkdir(parents=True)
    with pytest.raises(ResultsError, match="is no lock but a folder"), rounds.alone(print):
        pass


class Studied(Search):
    """A search whose settings need no training: their result follows from their values."""

    def look(self, number: int) -> Tried | None:
        if number >= self.trained:
            return None
        value = None if number == 3 else 1.0 - abs(self._asked[number]["lr"] - 0.005)
        return Tried(number, self.values(number), value)


@pytest.fixture
def search(tmp_path: Path) -> Callable[[str], Studied]:
    pytest.importorskip("optuna", reason="needs the extra [tune]")
    (job,) = load_jobs(["quant=int4"], multirun=False)
    space = space_of(job.config)

    def search(folder: str) -> Studied:
        studied = Studied(job, space, 14, tmp_path / folder)
        studied.trained = 0
        return studied

    return search


def ask(studied: Studied, count: int = 2) -> list[int]:
    return studied.ask(count, pytest.fail, pytest.fail)


def settings(studied: Studied) -> list[dict[str, float]]:
    return [values for of_round in studied.rounds.read(pytest.fail) for values in of_round]


def finished(studied: Studied, count: int = 2) -> list[dict[str, float]]:
    while asked := ask(studied, count):
        studied.trained = asked[-1] + 1
    return settings(studied)


def test_a_search_goes_on_with_the_same_settings_wherever_it_was_stopped(search: Callable[[str], Studied]) -> None:
    whole = finished(search("whole"))
    assert len(whole) == 14 and len({values["lr"] for values in whole}) == 14
    for trained in range(15):  # a process for each setting, killed between its question and the next
        stopped = search("stopped")
        stopped.trained = trained
        asked = ask(stopped)
        assert ask(stopped) == asked and asked[:1] == list(range(trained, min(trained + 1, 14)))
    assert settings(stopped) == whole


def test_a_damaged_round_is_suggested_again_as_it_was(search: Callable[[str], Studied]) -> None:
    studied = search("a")
    whole = finished(studied)
    path = studied.rounds.folder / "round-0005-2.json"
    content = path.read_bytes()
    path.write_bytes(content[:100])
    said: list[str] = []
    assert studied.ask(1, pytest.fail, said.append) == [10, 11], "as many as its name says"
    assert len(said) == 1 and path.read_bytes() == content and settings(studied) == whole


def test_what_cannot_be_recorded_is_no_endless_search(search: Callable[[str], Studied]) -> None:
    studied = search("a")
    (number,) = ask(studied, 1)
    with pytest.raises(ResultsError, match=r"trial 0 of threads_gin_int4_dq_.* could not be recorded in"):
        studied.tell(number)
