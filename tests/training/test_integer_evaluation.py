"""`evaluate.engine=integer`: the row carries what the program gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dqrun.composition.compose import load_configs
from dqrun.errors import ConfigError
from dqrun.sweep.run import run_all

SMALL = ["dataset.graphs=20", "model.hidden=8", "train.epochs=2", "train.batch_size=8", "protocol.trials=1"]
Words = Callable[..., list[str]]


@pytest.fixture
def words(tmp_path: Path) -> Words:
    return lambda *more: [*SMALL, "threads=1", "plan=integer", f"results.dir={tmp_path}", *more]


@pytest.mark.parametrize("model", ["gcn", "gat", "gin", "sage", "gatv2"])
@pytest.mark.parametrize("quant", ["int8", "int4", "w4a8"])
def test_the_row_carries_metric_and_agreement(
    words: Words, tmp_path: Path, model: str, quant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run_all(load_configs(words(f"model={model}", f"quant={quant}", "evaluate.engine=integer")))
    (row,) = pd.read_csv(tmp_path / "trials.csv").to_dict("records")
    assert row["integer_agreement"] == row["integer_agreement_float32"] == 1.0
    assert row["test_metric_integer"] == row["test_metric"]
    (cell,) = pd.read_csv(tmp_path / "summary.csv").to_dict("records")
    assert cell["test_integer_mean"] == row["test_metric"]
    assert "100.00 % of the predictions agree (100.00 % in float32)" in capsys.readouterr().err


def test_learned_steps_are_those_of_the_program(words: Words, tmp_path: Path) -> None:
    options = ["model=gin", "quant=int4", "method.learned_scale=true", "method.delay_epochs=1", "train.warm_start=fp32"]
    run_all(load_configs(words(*options, "evaluate.engine=integer")), quiet=True)
    first, row = pd.read_csv(tmp_path / "trials.csv").to_dict("records")
    assert row["integer_agreement"] == 1.0 and row["test_metric_integer"] == row["test_metric"]
    assert row["started_from"] == first["run_id"] and pd.isna(first["test_metric_integer"])


def test_a_row_without_the_integer_result_is_run_again(words: Words, tmp_path: Path) -> None:
    run_all(load_configs(words("quant=int8")), quiet=True)
    (path,) = (tmp_path / "runs").glob("*/row.json")
    before = json.loads(path.read_text())
    assert before["test_metric_integer"] is None
    run_all(load_configs(words("quant=int8", "evaluate.engine=integer")), quiet=True)
    after = json.loads(path.read_text())
    assert after["test_metric_integer"] == after["test_metric"] == before["test_metric"]


@pytest.mark.parametrize(
    ("more", "rule"),
    [
        (["plan=paper"], "be float unless plan=integer"),
        (["quant=fp32"], "be float for quant=fp32"),
        (["quant.activation_bits=null"], "be float for quant=w8a32"),
        (["device=cuda"], "be float for device=cuda"),
        (["evaluate.engine=exact"], "be one of float, integer"),
    ],
)
def test_what_cannot_be_lowered_is_refused_before_anything_runs(words: Words, more: list[str], rule: str) -> None:
    with pytest.raises(ConfigError, match=rf"evaluate\.engine must {rule}"):
        load_configs(words("evaluate.engine=integer", *more))


def test_the_integer_program_judges_a_sampled_training_in_blocks(words: Words, tmp_path: Path) -> None:
    folder, ring = tmp_path / "ring", np.arange(60)
    folder.mkdir()
    edges = np.stack([np.tile(ring, 3), np.concatenate([(ring + step) % 60 for step in (1, 59, 7)])])
    np.savez(folder / "data.npz", edge_index=edges, y=ring % 2, x=np.sin(ring * [[0.1], [3.1], [7.0]]).T)
    options = [
        "dataset=folder",
        f"dataset.path={folder}",
        "dataset.task=node_classification",
        "model=gcn",
        "quant=int8",
    ]
    options += ["method=dq", "loader=neighbor", "loader.fanouts=[2,2]", "loader.batch_size=16", "loader.block=0,7"]
    run_all(load_configs(words(*options, "evaluate.engine=integer"), multirun=True), quiet=True)
    whole, blocks = pd.read_csv(tmp_path / "trials.csv").to_dict("records")
    assert whole["integer_agreement"] == blocks["integer_agreement"] == blocks["integer_agreement_float32"] == 1.0
    assert (
        blocks["test_metric_integer"] == whole["test_metric_integer"] == blocks["test_metric"] == whole["test_metric"]
    )
