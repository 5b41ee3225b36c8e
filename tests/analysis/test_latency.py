"""Latencies from the JSON of `dqrun bench inference`."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from dqrun.analysis.cells import Cell
from dqrun.analysis.latency import latency_of, read_latencies
from dqrun.errors import ResultsError

ENTRY = {"variant": "int4", "model": "gin", "graph": "reddit_binary", "run_seconds": 0.25, "peak_bytes": 1}


def write(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "bench.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_matched_by_graph_model_and_width(tmp_path: Path, make_cell: Callable[..., Cell]) -> None:
    entries = [ENTRY, ENTRY | {"variant": "int8", "run_seconds": 0.5}, {**ENTRY, "graph": "zinc"}]
    found = read_latencies(write(tmp_path, {"machine": {}, "results": entries}))
    assert latency_of(make_cell(0.5, dataset="REDDIT-BINARY"), found) == 0.25
    assert latency_of(make_cell(0.5, dataset="REDDIT-BINARY", quant="int8"), found) == 0.5
    assert math.isnan(latency_of(make_cell(0.5, dataset="Cora"), found))


def test_two_entries_for_one_cell(tmp_path: Path, make_cell: Callable[..., Cell]) -> None:
    found = read_latencies(write(tmp_path, {"results": [ENTRY, ENTRY]}))
    with pytest.raises(ResultsError, match="2 entries for redditbinary gin int4"):
        latency_of(make_cell(0.5, dataset="REDDIT-BINARY"), found)


@pytest.mark.parametrize("content", ["{", [], {"results": [{}]}, {"results": [ENTRY | {"run_seconds": "fast"}]}])
def test_other_files(tmp_path: Path, content: object) -> None:
    with pytest.raises(ResultsError, match="must be the JSON of dqrun bench inference"):
        read_latencies(write(tmp_path, content))
    with pytest.raises(ResultsError, match="No such file"):
        read_latencies(tmp_path / "none.json")


def test_the_program_of_a_run_counts_for_its_configuration(tmp_path: Path, make_cell: Callable[..., Cell]) -> None:
    cell = make_cell(0.5, 0.6, dataset="REDDIT-BINARY")
    own = cell.runs[1].row["run_id"]
    entries = [ENTRY | {"run": own, "run_seconds": 0.5}, ENTRY | {"run": "another"}]
    assert latency_of(cell, read_latencies(write(tmp_path, {"results": entries}))) == 0.5


def test_programs_of_other_runs_count_by_their_median(tmp_path: Path, make_cell: Callable[..., Cell]) -> None:
    entries = [ENTRY | {"run": f"other{i}", "run_seconds": float(seconds)} for i, seconds in enumerate((3, 1, 2))]
    found = read_latencies(write(tmp_path, {"results": entries}))
    assert latency_of(make_cell(0.5, dataset="REDDIT-BINARY"), found) == 2
