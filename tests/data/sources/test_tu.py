"""TU sets: real ones, a slice of REDDIT-BINARY, and every way in which a text file can be broken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from dqrun.config import DataConfig, DatasetConfig, ProtocolConfig
from dqrun.data.arrays import GraphArrays
from dqrun.data.dataset import GraphDataset, load_dataset
from dqrun.data.downloads import of_pyg
from dqrun.data.raw_files import RawContent, RawFiles
from dqrun.data.sources.tu import EDGE_PARTS, NODE_PARTS, parse
from dqrun.data.splits import split_for
from dqrun.data.trial_data import TrialData
from dqrun.errors import ConfigError, DataError

MakeConfig = Callable[..., DatasetConfig]
Write = Callable[..., None]
SLICE = 40  # graphs of REDDIT-BINARY


@pytest.fixture
def raw(tmp_path: Path, write_tu: Write) -> Path:
    write_tu(tmp_path / "TOY" / "raw", "TOY")
    return tmp_path / "TOY" / "raw"


@pytest.mark.parametrize(
    ("name", "figures"),
    [("MUTAG", (188, 3371, 7442, 2, 7)), ("PROTEINS", (1113, 43471, 162088, 2, 4)), ("IMDB-BINARY", None)],
)
def test_real_sets_have_the_published_figures(
    name: str, figures: tuple[int, ...] | None, real_data: DataConfig, dataset_config: MakeConfig
) -> None:
    dataset = load_dataset(dataset_config(name=name, source="tu"), real_data)
    if figures is None:
        assert (dataset.num_graphs, dataset.num_nodes, dataset.num_edges) == (1000, 19773, 193062)
        assert dataset.x is None
    else:
        assert dataset.x is not None
        got = (dataset.num_graphs, dataset.num_nodes, dataset.num_edges, dataset.num_classes, dataset.x.size(1))
        assert got == figures


def write_slice(source: Path, target: Path) -> None:
    """The first SLICE/2 graphs of each class of REDDIT-BINARY, as TU text."""
    name = "REDDIT-BINARY"
    graph = pd.read_csv(source / f"{name}_graph_indicator.txt", header=None)[0]
    label = pd.read_csv(source / f"{name}_graph_labels.txt", header=None)[0]
    chosen = label.groupby(label).head(SLICE // 2).index + 1
    number = pd.Series(range(1, SLICE + 1), index=chosen)
    kept = graph[graph.isin(chosen)]
    renamed = pd.Series(range(1, len(kept) + 1), index=kept.index + 1)
    edges = pd.read_csv(source / f"{name}_A.txt", header=None, skipinitialspace=True)
    edges = edges[edges[0].isin(renamed.index)]
    target.mkdir(parents=True)
    lines = {
        "graph_indicator": kept.map(number),
        "graph_labels": label[chosen - 1],
        "A": edges[0].map(renamed).astype(str) + ", " + edges[1].map(renamed).astype(str),
    }
    for part, column in lines.items():
        (target / f"{name}_{part}.txt").write_text("\n".join(column.astype(str)) + "\n")


def test_a_slice_of_reddit_trains_on_the_standardised_degree(
    real_data: DataConfig, tmp_path: Path, dataset_config: MakeConfig
) -> None:
    assert real_data.resolved_mirror is not None
    write_slice(real_data.resolved_mirror / "REDDIT-BINARY" / "raw", tmp_path / "small" / "REDDIT-BINARY" / "raw")
    config = dataset_config(name="REDDIT-BINARY", source="tu", features="degree", max_one_hot_degree=100)
    dataset = load_dataset(config, DataConfig(root=real_data.root, mirror=str(tmp_path / "small")))
    assert (dataset.num_graphs, dataset.num_classes, dataset.x) == (SLICE, 2, None)
    split = split_for(dataset, ProtocolConfig(name="kfold", num_folds=10, split_seed=12345), 3)
    data = TrialData.build(dataset, split, config, 16, False, "cpu")
    assert (data.in_channels, data.out_channels, data.steps_per_epoch) == (1, 2, 2)
    seen = torch.cat([batch.x for batch in data.batches("train")])
    torch.testing.assert_close(torch.std_mean(seen), (torch.tensor(1.0), torch.tensor(0.0)), rtol=0, atol=1e-4)


def load(raw: Path, make: MakeConfig, **fields: object) -> GraphDataset:
    data = DataConfig(root=str(raw.parents[1]))
    return load_dataset(make(name="TOY", source="tu", **fields), data)


def test_one_graph_attribute_is_a_regression(raw: Path, dataset_config: MakeConfig) -> None:
    (raw / "TOY_graph_labels.txt").unlink()
    (raw / "TOY_graph_attributes.txt").write_text("".join(f"{graph / 2}\n" for graph in range(6)))
    dataset = load(raw, dataset_config, task="graph_regression")
    assert dataset.num_classes == 0
    assert dataset.y.tolist() == [0, 0.5, 1, 1.5, 2, 2.5] and dataset.y.dtype == torch.float32


def test_several_graph_attributes_are_an_error(raw: Path, dataset_config: MakeConfig) -> None:
    (raw / "TOY_graph_attributes.txt").write_text("1, 2\n" * 6)
    with pytest.raises(DataError, match=r"TOY_graph_attributes\.txt: has 2 targets per graph"):
        load(raw, dataset_config, task="graph_regression")


def test_a_regression_set_is_not_classified(raw: Path, dataset_config: MakeConfig) -> None:
    (raw / "TOY_graph_attributes.txt").write_text("0.5\n" * 6)
    with pytest.raises(ConfigError, match=r"dataset\.task must be graph_regression for TOY"):
        load(raw, dataset_config)


def check(raw: Path) -> GraphArrays:
    parts = ("A", "graph_indicator", "graph_labels")
    names, further = ([f"TOY_{part}.txt" for part in group] for group in (parts, (*NODE_PARTS, *EDGE_PARTS)))
    files = RawFiles("TOY", tuple(names), of_pyg("TUDataset", name="TOY"), tuple(further))
    return parse(RawContent.read(raw, files), "TOY", "graph_classification")


def test_whole_files_pass(raw: Path) -> None:
    assert check(raw).warnings == ()


def edit(lines: list[str], part: str) -> list[str]:
    """A damaged version of the lines of one file."""
    damages = {
        "cut in a line": [*lines[:-1], lines[-1][: len(lines[-1]) // 2] + ","],
        "cut in the last graph": lines[:-1],
        "cut between graphs": lines[:4],
        "line lost": lines[1:],
        "empty": [],
        "letters": ["x" + lines[0], *lines[1:]],
        "outside": [*lines, "1, 99"],
        "crossing": [*lines, "1, 33", "33, 1"],
        "jump": [*lines[:-1], "9"],
    }
    return damages[part]


@pytest.mark.parametrize(
    ("part", "damage", "named"),
    [
        ("A", "cut in a line", "A"),
        ("A", "empty", "A"),
        ("A", "letters", "A"),
        ("A", "outside", "A"),
        ("A", "crossing", "A"),
        ("graph_indicator", "letters", "graph_indicator"),
        ("graph_indicator", "empty", "graph_indicator"),
        ("graph_indicator", "jump", "graph_indicator"),
        ("graph_indicator", "line lost", "graph_indicator"),
        ("graph_labels", "line lost", "graph_labels"),
        ("graph_labels", "letters", "graph_labels"),
        ("node_labels", "line lost", "node_labels"),
        ("node_labels", "cut in a line", "node_labels"),
    ],
)
def test_a_broken_file_is_named(part: str, damage: str, named: str, raw: Path) -> None:
    path = raw / f"TOY_{part}.txt"
    path.write_text("".join(f"{line}\n" for line in edit(path.read_text().splitlines(), damage)))
    with pytest.raises(DataError) as error:
        check(raw)
    assert f"TOY_{named}.txt" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("damage", ["cut in the last graph", "cut between graphs"])
def test_edges_that_may_have_been_cut_are_told(damage: str, raw: Path, dataset_config: MakeConfig) -> None:
    path = raw / "TOY_A.txt"
    path.write_text("".join(f"{line}\n" for line in edit(path.read_text().splitlines(), damage)))
    for _ in range(2):  # read, and from the cache
        assert "TOY_A.txt may have been cut: its edges end in graph" in load(raw, dataset_config).note


def test_labels_of_edges_show_that_edges_are_missing(raw: Path) -> None:
    edges = (raw / "TOY_A.txt").read_text().splitlines()
    (raw / "TOY_edge_labels.txt").write_text("1\n" * len(edges))
    assert check(raw).edge_counts.sum() == len(edges)
    (raw / "TOY_A.txt").write_text("\n".join(edges[:-2]))
    with pytest.raises(DataError, match=r"TOY_edge_labels\.txt: has 54 lines where TOY_A\.txt asks for 52"):
        check(raw)


def add_graph(raw: Path, nodes: int, edges: str = "") -> None:
    """One more graph at the end of the set, which has 33 nodes in 6 graphs."""
    for part, text in (
        ("graph_indicator", "7\n" * nodes),
        ("node_labels", "0\n" * nodes),
        ("graph_labels", "1\n"),
        ("A", edges),
    ):
        with (raw / f"TOY_{part}.txt").open("a") as file:
            file.write(text)


@pytest.mark.parametrize(("nodes", "edges"), [(1, ""), (2, ""), (3, "34, 35\n35, 36\n")])
def test_a_last_graph_of_one_atom_of_a_salt_or_with_one_way_edges_is_read(nodes: int, edges: str, raw: Path) -> None:
    add_graph(raw, nodes, edges)
    arrays = check(raw)
    assert arrays.node_counts.tolist()[-1] == nodes and arrays.edge_counts.tolist()[-1] == edges.count("\n")


def test_several_labels_per_graph_are_an_error(raw: Path) -> None:
    (raw / "TOY_graph_labels.txt").write_text("1, 0\n0, 1\n" * 3)
    with pytest.raises(DataError, match=r"TOY_graph_labels\.txt: has 2 targets per graph; one is predicted"):
        check(raw)


def test_loops_and_repeated_edges_are_left_out(raw: Path) -> None:
    before = check(raw)
    with (raw / "TOY_A.txt").open("a") as file:
        file.write("1, 1\n1, 2\n2, 1\n")
    assert torch.equal(check(raw).edge_index, before.edge_index)


@pytest.mark.parametrize("value", ["nan", "inf", "1e39", "-1e400", "0x1F", "1_0", "\u0661"])
def test_attributes_are_finite_in_float32(value: str, raw: Path) -> None:
    (raw / "TOY_node_attributes.txt").write_text("0.5\n" * 4 + f"{value}\n" + "0.5\n" * 28, encoding="utf-8")
    with pytest.raises(DataError, match=r"TOY_node_attributes\.txt: line 5: must be a finite number in float32, got"):
        check(raw)


def test_labels_far_apart_do_not_fill_the_memory(raw: Path) -> None:
    path = raw / "TOY_node_labels.txt"
    path.write_text(path.read_text().replace("0", "-9000000000000000000", 1))
    with pytest.raises(DataError, match=r"TOY_node_labels\.txt: labels must span at most 10000 values"):
        check(raw)


def test_an_attribute_that_is_not_finite_is_named_with_its_line(raw: Path) -> None:
    nodes = len((raw / "TOY_graph_indicator.txt").read_text().splitlines())
    (raw / "TOY_node_attributes.txt").write_text("1.0, 2.0\n" * (nodes - 1) + "1.0\n")
    with pytest.raises(DataError, match=f"TOY_node_attributes.txt: line {nodes}: must have 2 values, got 1"):
        check(raw)
