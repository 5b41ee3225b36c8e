"""A results folder with a few trials, made without training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dqrun.composition.compose import load_configs
from dqrun.runs.row import Row, write_row

WriteTrial = Callable[..., Path]


@pytest.fixture
def write_trial(row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteTrial:
    """Writes a trial into `results` of the working folder, by columns of its row; returns its folder."""
    monkeypatch.chdir(tmp_path)

    def write(run_id: str, config: str = "", **columns: Any) -> Path:
        folder = tmp_path / "results" / "runs" / run_id
        folder.mkdir(parents=True)
        write_row(folder, replace(row, run_id=run_id, **columns))
        if config:
            (folder / "config.yaml").write_text(config)
        return folder

    return write


@pytest.fixture(scope="session")
def config_text() -> Callable[..., str]:
    """config.yaml of a command line."""
    from omegaconf import OmegaConf

    def text(*words: str) -> str:
        (config,) = load_configs(words)
        return OmegaConf.to_yaml(OmegaConf.structured(config))

    return text
