"""What the attack on the command line tries, and what it takes for a failure."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from dqrun.cli.verbs import VERBS


@pytest.fixture
def attack(repository: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(repository / "benchmarks" / "attacks"))
    import command_lines

    return command_lines


def test_every_verb_is_tried_and_a_seed_gives_the_same_lines(attack) -> None:
    found = list(attack.lines(random.Random(0), 300))
    assert found == list(attack.lines(random.Random(0), 300))
    typed = [words for words in found if not words[0].startswith((attack.COMP_LINE, "-sc"))]
    assert {*VERBS, attack.TINY[0]} == {words[0] for words in typed}
    assert len(typed) < len(found)  # shell completion is tried as well


@pytest.mark.parametrize(
    ("code", "out", "err", "fault"),
    [
        (0, "table\n", "", ""),
        (2, "", "dqrun: no such file\n", ""),
        (130, "", "plan: 1 trial\ndqrun: interrupted; kept\n", ""),
        (None, "", "", "no answer"),
        (-signal.SIGXCPU, "", "", "no answer"),
        (-signal.SIGSEGV, "", "", "ended by signal 11"),
        (1, "", "Traceback (most recent call last):\n", "traceback"),
        (1, "", "dqrun: a trial failed\n", "exit code 1"),
        (2, "", "", "no line that tells the error"),
        (2, "", "usage: dqrun\ndqrun: wrong\n", "more than the line that tells the error"),
        (2, "", f"dqrun: {'a' * 5000}\n", "5008 characters of error"),
        (0, "name \x1b[31m\n", "", "a control character in the output"),
    ],
)
def test_failures(attack, code: int | None, out: str, err: str, fault: str) -> None:
    assert attack.Ended(code, out, err).fault() == fault
