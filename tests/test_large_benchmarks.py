"""The scripts on large graphs run on small ones."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def scripts(repository: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, ModuleType, ModuleType]:
    pytest.importorskip("pyarrow")
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    import feature_store
    import parquet_graph
    import parquet_program

    return parquet_graph, feature_store, parquet_program


def test_a_written_graph_is_read_and_its_features_are_stored_in_each_width(
    scripts: tuple[ModuleType, ModuleType, ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    parquet_graph, feature_store, _ = scripts
    folder, file = tmp_path / "graph", tmp_path / "store.json"
    monkeypatch.setattr(parquet_graph, "AT_ONCE", 1000)  # several row groups
    assert parquet_graph.main([str(folder), "--nodes", "300", "--edges", "2500", "--features", "8"]) == 0
    monkeypatch.setattr(feature_store, "ROWS", 64)
    monkeypatch.setattr(feature_store, "BATCH", 16)
    words = f"small=dataset=folder dataset.path={folder} dataset.task=node_classification protocol.trials={{trials}}"
    words += " model.hidden=8 train.epochs=2 loader=neighbor loader.fanouts=[2,2] threads=1"
    assert feature_store.main(["--trials", "1", "--json", str(file), words]) == 0
    lines = json.loads(file.read_text())["results"]
    by_store = {line["store"]: line["bytes_per_node"] for line in lines if "bytes_per_node" in line}
    assert by_store["float32"] == 512 and by_store["int8"] == 136 and by_store["int4"] == 72
    assert by_store["int8_column"] == 128 + 8 * 128 / 64 and len([line for line in lines if "test" in line]) == 5
    assert capsys.readouterr().out.count("\n") == 2 + 5


def test_every_step_from_parquet_files_to_a_program_is_measured(
    scripts: tuple[ModuleType, ModuleType, ModuleType], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "parquet.json"
    assert scripts[2].main([str(tmp_path), "--nodes", "3000", "--edges", "20000", "--json", str(file)]) == 0
    document = json.loads(file.read_text())
    assert len(document["results"]) == 6 and document["epoch_seconds"] > 0
    assert all(step["seconds"] > 0 and step["peak_bytes"] > 2**20 for step in document["results"])
    assert (tmp_path / "hundred.dqp").exists() and capfd.readouterr().out.count("\n") == 2 + 7
