"""What all tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# Examples are the same in every run, and none is judged by the clock: a busy machine must not fail a test.
settings.register_profile("dqrun", deadline=None, derandomize=True)
settings.load_profile("dqrun")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout that holds these tests."""
    return Path(__file__).parents[1]
