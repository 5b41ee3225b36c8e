"""What all tests share."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from dqrun.runs.row import Row

# Examples are the same in every run, and none is judged by the clock: a busy machine must not fail a test.
settings.register_profile("dqrun", deadline=None, derandomize=True)
settings.load_profile("dqrun")


@pytest.fixture(autouse=True)
def dqrun_logger() -> Iterator[None]:
    """Each test begins with warnings alone, whatever a verbose test or a library did to the loggers before."""
    logger = logging.getLogger("dqrun")
    logger.setLevel(logging.WARNING)
    yield
    logger.setLevel(logging.NOTSET)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """The whole suite runs in two processes where pytest-xdist is installed; a part of it, or `-n 0`, in this one."""
    whole = config.args_source is config.ArgsSource.TESTPATHS
    if "PYTEST_XDIST_WORKER" in os.environ:  # this is one of them: it must start none of its own
        return
    free = config.pluginmanager.hasplugin("xdist") and config.option.numprocesses is None and not config.option.usepdb
    if whole and free:
        config.option.numprocesses, config.option.dist = 2, "loadfile"


def pytest_collection_finish() -> None:
    """Each trial collects garbage before it measures memory. The modules that are imported by now are left out."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout that holds these tests."""
    return Path(__file__).parents[1]


@pytest.fixture
def row() -> Row:
    """A finished trial."""
    return Row(
        run_id="r0",
        dataset="threads",
        task="graph_classification",
        model="gin",
        quant="int4",
        weight_bits=4,
        activation_bits=4,
        method="dq",
        estimator="clipped",
        observer="percentile(0.01)-running_minmax",
        p_min=0.1,
        p_max=0.2,
        plan="paper",
        protocol="seeds",
        seed=0,
        fold=None,
        epochs=10,
        best_epoch=7,
        metric="accuracy",
        higher_is_better=True,
        train_metric=0.9,
        val_metric=0.8,
        test_metric=0.7,
        status="done",
        reason="",
        seconds=1.5,
        seconds_per_epoch=0.1,
        peak_bytes=1000,
        parameters=123,
        device="cpu",
        threads=2,
        config_hash="aa",
        git_revision="",
        dqrun_version="0",
        torch_version="0",
        pyg_version="0",
        finished_utc="2026-01-01T00:00:00+00:00",
        cell_hash="c",
    )
