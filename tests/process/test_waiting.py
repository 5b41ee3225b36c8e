"""Threads that wait."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dqrun.process.waiting import let_threads_sleep

NAMES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


@pytest.mark.parametrize(
    ("own", "load", "then"),
    [
        ({}, 1.7, {"GOMP_SPINCOUNT": "3000"}),
        ({}, 0.1, {}),
        ({"GOMP_SPINCOUNT": "7"}, 1.7, {"GOMP_SPINCOUNT": "7"}),
        ({"OMP_WAIT_POLICY": "active"}, 1.7, {"OMP_WAIT_POLICY": "active"}),
    ],
)
def test_only_on_a_busy_machine_and_never_against_the_user(
    own: dict[str, str], load: float, then: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(os, "environ", dict(os.environ))
    let_threads_sleep()
    assert {name: os.environ[name] for name in NAMES if name in os.environ} == then


def test_the_command_line_sets_it_before_torch() -> None:
    code = (
        "import os, sys; os.getloadavg = lambda: (2.0, 2.0, 2.0); from dqrun.cli import main; main(['--version']); "
        "print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)"
    )
    environment = {name: value for name, value in os.environ.items() if name not in NAMES}
    command = [sys.executable, "-c", code]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1] == "3000 False"
