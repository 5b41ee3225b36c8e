"""Small sweeps on a few generated threads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dqrun.composition.compose import load_configs
from dqrun.config import RunConfig

SMALL = [
    *("dataset.graphs=20", "model.hidden=8", "model.layers=2", "train.epochs=3", "train.batch_size=8"),
    *("protocol.trials=2", "threads=1", "train.checkpoint_minutes=1e-9"),
]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., list[RunConfig]]:
    """Composes a small sweep with further overrides; results go to a temporary folder."""

    def make(*overrides: str) -> list[RunConfig]:
        return load_configs([*SMALL, f"results.dir={tmp_path / 'results'}", *overrides], multirun=True)

    return make
