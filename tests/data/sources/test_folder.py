"""The user's folder as a dataset: which format is read, and the example of its documentation."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from dqrun.config import DataConfig, DatasetConfig
from dqrun.data.dataset import load_dataset
from dqrun.errors import ConfigError, DataError

MakeConfig = Callable[..., DatasetConfig]


def test_the_documented_example_loads(repository: Path, tmp_path: Path, dataset_config: MakeConfig) -> None:
    text = (repository / "docs" / "reference" / "folder_format.md").read_text()
    block = next(block for block in re.findall(r"```\n(.*?)```", text, re.S) if block.startswith("graphs.csv"))
    columns = [re.split(r"\s{2,}", line) for line in block.splitlines()]
    names, lines = columns[0], block.splitlines()
    starts = [lines[0].index(name) for name in names]
    for name, start, stop in zip(names, starts, [*starts[1:], 1000], strict=True):
        (tmp_path / name).write_text("".join(f"{line[start:stop].strip()}\n" for line in lines[1:]))
    dataset = load_dataset(dataset_config(name="mine", source="folder", path=str(tmp_path)), DataConfig())
    assert (dataset.num_graphs, dataset.num_nodes, dataset.num_edges, dataset.num_classes) == (3, 5, 3, 2)
    assert dataset.x is not None and dataset.x.size(1) == 2
    assert not dataset.synthetic and str(tmp_path) in dataset.note


@pytest.mark.parametrize("path", [None, "nowhere"])
def test_the_path_must_be_a_folder(path: str | None, tmp_path: Path, dataset_config: MakeConfig) -> None:
    config = dataset_config(name="mine", source="folder", path=path and str(tmp_path / path))
    with pytest.raises(ConfigError, match=r"dataset\.path must"):
        load_dataset(config, DataConfig())


@pytest.mark.parametrize(
    ("files", "message"), [([], "must hold data.npz, or nodes.csv"), (["data.npz", "nodes.csv"], "not both")]
)
def test_one_format_must_be_there(files: list[str], message: str, tmp_path: Path, dataset_config: MakeConfig) -> None:
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=message):
        load_dataset(dataset_config(name="mine", source="folder", path=str(tmp_path)), DataConfig())
