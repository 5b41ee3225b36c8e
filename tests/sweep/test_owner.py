"""Owners of locks: who they are, and when they are known to be dead."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from dqrun.sweep.owner import Owner


def test_a_round_trip() -> None:
    owner = Owner.new("task 3")
    assert Owner.from_json(owner.to_json()) == owner
    assert Owner.new().token != owner.token


@pytest.mark.parametrize("text", ["", "{", "[]", '{"token": "a"}', "3", "[" * 100_000])
def test_what_is_no_owner(text: str) -> None:
    with pytest.raises(ValueError):
        Owner.from_json(text)


@pytest.mark.parametrize(
    "damage",
    [
        *({"token": token} for token in ("../../etc", "a/b", "", 3, "0123456789aB")),
        *({"pid": pid} for pid in ("1", 0, -1, True, 1.0, None, 2**40)),
        *({name: None} for name in ("host", "machine", "started", "label")),
        {"more": 1},
    ],
)
def test_a_damaged_value_is_no_owner(damage: dict[str, object]) -> None:
    text = json.dumps(json.loads(Owner.new().to_json()) | damage)
    with pytest.raises(ValueError):
        Owner.from_json(text)


def test_this_process_lives_and_an_ended_one_does_not() -> None:
    code = "from dqrun.sweep.owner import Owner; print(Owner.new().to_json())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert Owner.from_json(done.stdout).is_known_dead
    assert not Owner.new().is_known_dead


def test_a_zombie_is_dead() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = replace(Owner.new(), pid=process.pid, started="")
    assert not owner.is_known_dead
    assert process.stdin is not None
    process.kill()
    while not owner.is_known_dead:  # it is not waited for yet, so its number is still taken
        pass
    process.stdin.close()
    process.wait()


def test_a_later_process_with_the_same_number_is_another() -> None:
    owner = Owner.new()
    if not owner.started:
        pytest.skip("this system does not tell when a process started")
    assert replace(owner, started="1").is_known_dead


def test_nothing_is_known_of_other_machines() -> None:
    assert not replace(Owner.new(), machine="elsewhere", pid=2**22 + 1).is_known_dead
