"""TU sets: real ones, a slice of REDDIT-BINARY, and every way in which a text file can be broken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from dqrun.config import DataConfig, DatasetConfig, ProtocolConfig
from dqrun.data.dataset import GraphDataset, load_dataset
from dqrun.data.sources.tu import check
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
    with pytest.raises(DataError, match="TOY has 2 targets per graph"):
        load(raw, dataset_config, task="graph_regression")


def test_a_regression_set_is_not_classified(raw: Path, dataset_config: MakeConfig) -> None:
    (raw / "TOY_graph_attributes.txt").write_text("0.5\n" * 6)
    with pytest.raises(ConfigError, match=r"dataset\.task must be graph_regression for TOY"):
        load(raw, dataset_config)


def test_whole_files_pass(raw: Path) -> None:
    check(raw, "TOY")


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
        ("A", "cut in the last graph", "A"),
        ("A", "cut between graphs", "A"),
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
        check(raw, "TOY")
    assert f"TOY_{named}.txt" in str(error.value) and "\n" not in str(error.value)


def test_an_attribute_that_is_not_finite_is_named_with_its_line(raw: Path) -> None:
    nodes = len((raw / "TOY_graph_indicator.txt").read_text().splitlines())
    (raw / "TOY_node_attributes.txt").write_text("1.0, 2.0\n" * (nodes - 1) + "1.0\n")
    with pytest.raises(DataError, match=f"TOY_node_attributes.txt: line {nodes} is incomplete or not finite"):
        check(raw, "TOY")
