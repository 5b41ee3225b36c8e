"""Tables of a folder in Parquet and NPY: the same data as CSV, and errors that name file, row and field."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dqrun.config import DataConfig, DatasetConfig
from dqrun.data.dataset import GraphDataset, load_dataset
from dqrun.data.fingerprint import data_fingerprint, fingerprint
from dqrun.data.sources import folder_edges
from dqrun.data.unlabelled import load_unlabelled
from dqrun.errors import DataError

IDS = np.array([7, 3, 90, 5])
EDGES = np.array([[7, 3, 90, 90], [3, 7, 5, 90]])
X = np.arange(8, dtype=np.float32).reshape(4, 2)

NO_WEIGHT: dict[str, Any] = {"edges": {"weight": None}}
NO_FEATURES: dict[str, Any] = {"nodes": {"f": None, "g": None}}

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a folder of 4 nodes and 4 edges; `nodes`, `edges`: the formats."""
    parquet = pytest.importorskip("pyarrow.parquet")
    arrow = pytest.importorskip("pyarrow")

    def written(nodes: str, edges: str, columns: dict[str, Any] | None = None, name: str = "a") -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        tables = {
            "nodes": {"node": IDS, "label": [0, 1, 1, 0], "f": X[:, 0], "g": X[:, 1]},
            "edges": {"source": EDGES[0], "target": EDGES[1], "weight": np.array([1, 0.5, 2, 3], np.float32)},
        }
        for table, suffix in (("nodes", nodes), ("edges", edges)):
            content = {**tables[table], **(columns or {}).get(table, {})}
            content = {key: value for key, value in content.items() if value is not None}
            if suffix == "parquet":
                parquet.write_table(arrow.table(content), folder / f"{table}.parquet", row_group_size=3)
            elif suffix == "npy":
                np.save(folder / f"{table}.npy", np.stack([content["source"], content["target"]]))
            else:
                lines = [",".join(content), *(",".join(map(str, row)) for row in zip(*content.values(), strict=True))]
                (folder / f"{table}.csv").write_text("\n".join(lines) + "\n")
        return folder

    return written


def load(folder: Path) -> GraphDataset:
    return load_dataset(config(folder), DataConfig())


def config(folder: Path) -> DatasetConfig:
    return DatasetConfig("mine", "folder", "node_classification", path=str(folder))


def test_each_format_gives_the_same_data(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_edges, "ROWS_AT_ONCE", 3)  # several chunks
    csv, parquet = load(write("csv", "csv", name="a")), load(write("parquet", "parquet", name="b"))
    assert data_fingerprint(csv) == data_fingerprint(parquet)
    assert parquet.packed.edge_weight is not None and parquet.packed.edge_weight.tolist() == [0.5, 1.0, 3.0, 2.0]
    plain, mapped = load(write("csv", "csv", NO_WEIGHT, "c")), load(write("csv", "npy", name="d"))
    assert data_fingerprint(plain) == data_fingerprint(mapped) != data_fingerprint(csv)
    assert plain.packed.edges.col.tolist() == [1, 0, 2, 2]


def test_edges_that_repeat_or_lack_their_reverse_are_told(write: Write) -> None:
    changed = {"edges": {"source": np.array([7, 7, 3, 90]), "target": np.array([3, 3, 7, 5])}}
    note = load(write("csv", "npy", changed)).note
    assert "1 of 4 edges repeat an earlier one" in note and "1 of 3 edges go in one direction only" in note


def test_features_stay_in_their_file_and_count(write: Write) -> None:
    folder = write("parquet", "npy", NO_FEATURES)
    np.save(folder / "x.npy", X)
    before, dataset = fingerprint(config(folder)), load(folder)
    assert dataset.x is not None and dataset.x.tolist() == X.tolist()
    assert data_fingerprint(dataset) == data_fingerprint(load(write("csv", "npy", name="b")))
    with (folder / "x.npy").open("r+b") as file:  # in place: what is mapped changes too
        np.save(file, X + 1)
    assert fingerprint(config(folder)) != before and dataset.x.tolist() == (X + 1).tolist()
    np.save(folder / "x.npy", X.astype(np.float64))
    assert load(folder).x.tolist() == X.tolist()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"edges": {"target": np.array([3, 7, 5, 4])}}, r"row 3: target must be a node of nodes.parquet, got 4"),
        ({"edges": {"source": np.array([3, -7, 5, 3])}}, r"row 1: source must be >= 0, got -7"),
        ({"edges": {"source": [3, None, 5, 3]}}, r"row 1: source must be there, got nothing"),
        ({"edges": {"source": np.array([3.0, 7, 5, 3])}}, r"column source must hold integers, got double"),
        ({"edges": {"source": None}}, r"column source is missing"),
        ({"edges": {"weight": np.array([1.0, 1, 1, -2])}}, r"row 3: weight must be >= 0, got -2"),
        ({"edges": {"weight": np.array([1.0, 1, 1, 1e39])}}, r"row 3: weight must be a finite .* got 1e\+39"),
        ({"nodes": {"f": np.array([0, 1, np.nan, 3])}}, r"nodes.parquet: row 2: f must be a finite number"),
        ({"nodes": {"node": np.array([1, 2, 1, 3])}}, r"nodes.parquet: row 2: node must be listed once, got 1 again"),
        ({"nodes": {"label": [0, 2, 2, 0]}}, r"nodes.parquet: row 1: labels must be 0..C-1"),
        ({"nodes": {"split": ["train", "val", "other", None]}}, r"row 2: split must be train, val, test or empty"),
    ],
)  # fmt: skip
def test_what_breaks_a_rule_is_named_by_row(columns: dict[str, Any], message: str, write: Write) -> None:
    with pytest.raises(DataError, match=message):
        load(write("parquet", "parquet", columns))


@pytest.mark.parametrize("label", [[0, 1, 1, None], ["0", "1", "1", None], [0.0, 1.0, 1.0, float("nan")]])
def test_predictions_take_labels_of_each_type(label: list[Any], write: Write) -> None:
    folder = write("parquet", "npy", {"nodes": {"label": label}})
    assert load_unlabelled([folder], "node_classification").labels == ["0", "1", "1", ""]


def test_several_labels_of_parquet_may_be_numbers(write: Write) -> None:
    columns = {"label": None, "label_a": [0, 1, 1, None], "label_b": [1.0, 0.0, 0.0, 1.0]}
    dataset = load_dataset(
        DatasetConfig("m", "folder", "node_multilabel", path=str(write("parquet", "npy", {"nodes": columns}))),
        DataConfig(),
    )
    assert dataset.class_names == ("a", "b") and dataset.y[:, 1].tolist() == [1, 0, 0, 1]
    assert dataset.y[:3, 0].tolist() == [0, 1, 1] and bool(dataset.y[3, 0].isnan())


@pytest.mark.parametrize("kind", [np.uint8, np.uint32, np.uint64, ">i4"])
@pytest.mark.parametrize("edges", ["npy", "parquet"])
def test_ids_may_have_any_integer_type(kind: Any, edges: str, write: Write) -> None:
    if kind == ">i4" and edges == "parquet":
        kind = np.int32  # Parquet has one order of bytes
    ends = {"source": EDGES[0].astype(kind), "target": EDGES[1].astype(kind)}
    dataset = load(write("csv", edges, {"edges": {**ends, "weight": None}}))
    assert dataset.packed.edges.col.tolist() == [1, 0, 2, 2]
    if kind is np.uint64:
        ends["target"] = np.array([3, 7, 2**63 + 5, 3], np.uint64)
        with pytest.raises(DataError, match=r"(column|row) 2: target must be below 2\^63, got 9223372036854775813"):
            load(write("csv", edges, {"edges": {**ends, "weight": None}}))


def test_parquet_holds_one_graph_and_a_missing_table_is_named(write: Write) -> None:
    folder = write("parquet", "npy", {"nodes": {"graph": [0, 0, 1, 1]}})
    with pytest.raises(DataError, match=r"nodes\.parquet: a column graph needs nodes\.csv"):
        load(folder)
    folder = write("parquet", "npy", name="b")
    (folder / "edges.npy").unlink()
    with pytest.raises(DataError, match=r"must hold edges\.csv or edges\.parquet or edges\.npy"):
        load(folder)


def test_labels_of_parquet_may_be_words(write: Write) -> None:
    dataset = load(write("parquet", "npy", {"nodes": {"label": ["no", "yes", "yes", "no"]}}))
    assert dataset.class_names == ("no", "yes") and dataset.y.tolist() == [0, 1, 1, 0]


def test_broken_files_are_one_line(write: Write) -> None:
    folder = write("csv", "npy")
    for content, message in (
        (EDGES.T[:3], r"edges.npy: must hold integers \[2, E\]"),
        (np.asfortranarray(EDGES), "edges.npy: must be in C order"),
        (np.array([[7, 3], [3, 4]]), "edges.npy: column 1: target must be a node of nodes.csv, got 4"),
    ):
        np.save(folder / "edges.npy", content)
        with pytest.raises(DataError, match=message):
            load(folder)
    (folder / "edges.npy").write_bytes((folder / "edges.npy").read_bytes()[:-1])
    with pytest.raises(DataError, match=r"edges.npy: its header says \[2, 2\] of int64, but it holds 31 bytes"):
        load(folder)
    (folder / "edges.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"must hold edges.parquet or edges.npy, not both"):
        load(folder)
    (folder / "edges.npy").unlink()
    with pytest.raises(DataError, match=r"edges.parquet: truncated or no Parquet file"):
        load(folder)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.full((4, 2), np.nan, np.float32), "x.npy: row 0: column 0 must be a finite number in float32, got nan"),
        (X[:3], "x.npy: must have 4 rows, one per node, got 3"),
        (X[:, 0], r"x.npy: must hold numbers \[N, F\]"),
        (X, "features must be in nodes.csv or in x.npy, not in both"),
    ],
)
def test_features_of_another_kind_are_refused(x: np.ndarray, message: str, write: Write) -> None:
    both = message.endswith("both")
    folder = write("csv", "npy", {} if both else NO_FEATURES)
    np.save(folder / "x.npy", x)
    with pytest.raises(DataError, match=message):
        load(folder)
