"""What tests of methods share: a trial on a small graph task."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from dqrun.composition.compose import load_configs
from dqrun.config import RunConfig
from dqrun.data.dataset import load_dataset
from dqrun.runs.outcome import Outcome
from dqrun.runs.protocol import Trial
from dqrun.training import trial as module
from dqrun.training.checkpoints import Checkpoints, Identity

SMALL = [
    *("dataset.graphs=12", "model.hidden=8", "model.layers=2", "train.epochs=3", "train.batch_size=6"),
    *("train.checkpoint_minutes=0", "kernels=reference"),
]


def config_of(*words: str) -> RunConfig:
    """The configuration of a trial of less than a second."""
    (config,) = load_configs([*SMALL, *words])
    return config


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Threads of tiny operations wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> Callable[[RunConfig], Outcome]:
    """Runs the first trial of a configuration, without its rehearsal."""
    monkeypatch.setattr(module, "warm_up", lambda *rest: None)

    def run(config: RunConfig) -> Outcome:
        keeper = Checkpoints(tmp_path / "none.pt", config, lambda config: Identity("a", "0", "0", "0"))
        dataset = load_dataset(config.dataset, config.data)
        return module.run_trial(config, Trial(0), dataset, lambda epoch: None, keeper)

    return run
