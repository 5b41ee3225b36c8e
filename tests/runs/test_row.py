"""The one strict reader of rows, and what two rows are to each other."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from dqrun.composition.compose import load_configs
from dqrun.composition.fields import list_fields
from dqrun.runs.row import (
    ENVIRONMENT,
    HYPERPARAMETERS,
    OF_METHOD,
    Kinship,
    Row,
    check_row,
    hyperparameters,
    kinship,
    read_row,
    row_of_cells,
    write_row,
)


@pytest.fixture
def folder(tmp_path: Path, row: Row) -> Path:
    """A run folder with its row."""
    path = tmp_path / row.run_id
    path.mkdir()
    write_row(path, row)
    return path


def change(folder: Path, **values: Any) -> Path:
    path = folder / "row.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return path


def test_a_row_is_read_as_it_was_written(folder: Path, row: Row) -> None:
    assert read_row(folder / "row.json") == asdict(row)


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("seed", 1.0, "be an integer, got 1.0"),
        ("seed", True, "be an integer, got True"),
        ("seed", -1, "be >= 0, got -1"),
        ("seed", 2**63, "be an integer, got 9223372036854775808"),
        ("fold", "1", "be an integer or null, got '1'"),
        ("higher_is_better", 1, "be true or false, got 1"),
        ("dataset", None, "be text, got None"),
        ("dataset", ["a"], "be text, got "),
        ("dataset", "\ud800", "be text, got "),
        ("test_metric", "0.5", "be a number or null, got '0.5'"),
        ("seconds", None, "be a number, got None"),
        ("status", "doen", "be done or failed, got 'doen'"),
        ("val_metric", None, "be a number in a finished trial, got None"),
        ("config_hash", "../../a", "be a hash, got '../../a'"),
        ("cell_hash", "", "be a hash, got ''"),
        ("weight_bits", 0, "be in 1..32 or null, got 0"),
        ("finished_utc", "yesterday", "be a time in ISO 8601, got 'yesterday'"),
        ("run_id", "../r0", "be the name of a folder, got '../r0'"),
        ("reason", 10**100, "be text, got 1000"),
    ],
)
def test_each_fault_is_named(folder: Path, name: str, value: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} must ") as caught:
        read_row(change(folder, **{name: value}))
    assert rule in str(caught.value) and len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is not JSON"),
        (b"\xff\xfe{}", "it is not text in UTF-8"),
        (b"[]", "it holds no JSON object"),
        (b"[" * 100_000, "it is nested too deeply"),
        (b'{"run_id": NaN}', "it holds NaN, which is no number of JSON"),
        (b'{"run_id": "a", "run_id": "b"}', "it has a field twice"),
        (b" " * (1 << 20) + b"{}", "it is larger than 1048576 bytes"),
        (b'{"a": 1}', "it has the unknown field 'a'"),
        (b'{"run_id": "a"}', "it lacks dataset, task"),
    ],
)
def test_what_is_no_row_is_refused(folder: Path, content: bytes, reason: str) -> None:
    (folder / "row.json").write_bytes(content)
    with pytest.raises(ValueError, match=f"^{reason}"):
        read_row(folder / "row.json")


def test_numbers_beyond_floats_are_refused(folder: Path) -> None:
    path = folder / "row.json"
    path.write_text(path.read_text().replace('"test_metric": 0.7', '"test_metric": 1e999'))
    with pytest.raises(ValueError, match="test_metric must be a number or null, got inf"):
        read_row(path)


def test_a_pipe_is_no_row(folder: Path) -> None:
    (folder / "row.json").unlink()
    os.mkfifo(folder / "row.json")
    with pytest.raises(ValueError, match="it is no regular file"):
        read_row(folder / "row.json")


def test_a_copied_folder_is_not_the_trial_again(folder: Path) -> None:
    copied = folder.rename(folder.with_name("copy"))
    with pytest.raises(ValueError, match="its run_id is that of another folder, 'r0'"):
        read_row(copied / "row.json")


def test_a_row_that_could_not_be_read_is_not_written(tmp_path: Path, row: Row) -> None:
    with pytest.raises(ValueError, match="test_metric must be a number or null, got nan"):
        write_row(tmp_path, replace(row, test_metric=float("nan")))
    assert list(tmp_path.iterdir()) == []


def test_a_line_of_a_table_is_the_row_it_was_made_of(row: Row) -> None:
    written = replace(row, fold=None, tags="0.10", notes="1e5", lr=0.01, residual=False)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(asdict(written)))
    writer.writeheader()
    writer.writerow(asdict(written))
    (cells,) = csv.DictReader(io.StringIO(text.getvalue()))
    assert row_of_cells(cells) == asdict(written)


@pytest.mark.parametrize("cell", ["", "1_0", " 1", "1.5", "nan", "x"])
def test_a_cell_of_another_type_is_refused(row: Row, cell: str) -> None:
    cells = {name: "" if value is None else str(value) for name, value in asdict(row).items()}
    with pytest.raises(ValueError, match="seed must be an integer"):
        row_of_cells(cells | {"seed": cell})


@pytest.mark.parametrize("name", ["seed", "processor", "lr", "tags"])
def test_a_row_has_all_columns(row: Row, name: str) -> None:
    """Also those that most rows leave empty: a row of older code is brought to this form, not guessed at."""
    whole = asdict(row)
    del whole[name]
    with pytest.raises(ValueError, match=f"^it lacks {name}$"):
        check_row(whole)


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_another_environment_makes_a_replicate(row: Row, name: str) -> None:
    one = asdict(replace(row, kernels="cpu", processor="a"))
    other = one | {name: 99 if name == "threads" else "other", "test_metric": 0.71}
    assert kinship(one, other) is Kinship.REPLICATES
    assert kinship(one, other | {"config_hash": "bb"}) is Kinship.OTHER


def test_one_environment_with_two_results_contradicts_itself(row: Row) -> None:
    one = asdict(row)
    assert kinship(one, one | {"test_metric": 0.71}) is Kinship.CONFLICT
    assert kinship(one, one | {"seconds": 9.0}) is Kinship.EQUAL


def test_hyperparameters_are_fields_and_follow_the_configuration() -> None:
    assert set(HYPERPARAMETERS.values()) <= list_fields().keys()
    (config,) = load_configs(["train.lr=0.25", "model.hidden=24", "train.schedule.name=step", "quant=fp32"])
    found = hyperparameters(config)
    assert list(found) == [*OF_METHOD, *HYPERPARAMETERS] and found["method"] == "none"
    assert (found["lr"], found["hidden"], found["schedule"]) == (0.25, 24, "step")


def test_hyperparameters_after_a_warm_start_are_those_of_the_fine_tuning() -> None:
    words = ["train.warm_start=fp32", "train.lr=0.25", "train.fine_tune={lr: 0.125, epochs: 7}"]
    tuned, plain = (hyperparameters(load_configs([*words, quant])[0]) for quant in ("quant=int4", "quant=fp32"))
    assert (tuned["lr"], tuned["max_epochs"], tuned["warm_start"]) == (0.125, 7, "fp32")
    assert (plain["lr"], plain["warm_start"]) == (0.25, "none")
