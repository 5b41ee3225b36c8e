"""`import dqrun` is light, and all its public names are there."""

from __future__ import annotations

import subprocess
import sys

import pytest

import dqrun

LIGHT = """
import sys
import dqrun
assert {*dqrun.__all__} <= {*dir(dqrun)}
heavy = {"torch", "pandas", "numpy", "hydra"} & {*sys.modules}
assert not heavy, heavy
assert dqrun.DqrunError.__module__ == "dqrun.errors"
assert not {"torch", "pandas"} & {*sys.modules}
assert dqrun.load_program is __import__("dqrun.integer").integer.load_program
assert "torch" in sys.modules
"""


def test_importing_it_imports_nothing_heavy() -> None:
    subprocess.run([sys.executable, "-c", LIGHT], check=True)


@pytest.mark.parametrize("name", dqrun.__all__)
def test_every_name_is_there(name: str) -> None:
    found = getattr(dqrun, name)
    assert found is getattr(dqrun, name)
    assert found.__doc__


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="module 'dqrun' has no attribute 'runs_'"):
        dqrun.runs_  # noqa: B018
