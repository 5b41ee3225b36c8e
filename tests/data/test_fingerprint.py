"""What tells data apart: content before and after loading, never how a path is written."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dqrun.composition.compose import load_configs
from dqrun.config import DataConfig, DatasetConfig
from dqrun.data.dataset import GraphDataset, load_dataset
from dqrun.data.fingerprint import data_fingerprint, fingerprint
from dqrun.data.splits import Split

MakeConfig = Callable[..., DatasetConfig]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "g1"
    folder.mkdir()
    (folder / "graphs.csv").write_text("graph,label\n0,0\n1,1\n")
    (folder / "nodes.csv").write_text("graph,node,a\n0,0,0.5\n0,1,1.5\n1,0,2.5\n")
    (folder / "edges.csv").write_text("graph,source,target\n0,0,1\n0,1,0\n")
    return folder


def test_a_folder_is_known_by_content_however_its_path_is_written(
    folder: Path, dataset_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    os.symlink(folder, "link")
    spellings = ["g1", "g1/", "./g1", str(folder), "link", "../" + folder.parent.name + "/g1"]
    marks = {fingerprint(dataset_config(name="x", source="folder", path=path)) for path in spellings}
    assert len(marks) == 1 and marks != {""}


def test_a_changed_value_or_a_missing_file_is_other_data_and_a_stray_file_is_not(
    folder: Path, dataset_config: MakeConfig
) -> None:
    config = dataset_config(name="x", source="folder", path=str(folder))
    before = fingerprint(config)
    (folder / "predictions.csv").write_text("graph,prediction\n0,1\n")
    assert fingerprint(config) == before
    (folder / "nodes.csv").write_text("graph,node,a\n0,0,0.5\n0,1,1.5\n1,0,2.6\n")
    changed = fingerprint(config)
    (folder / "edges.csv").unlink()
    assert len({before, changed, fingerprint(config)}) == 3


def test_the_files_of_the_other_level_do_not_count(folder: Path, dataset_config: MakeConfig) -> None:
    config = dataset_config(name="x", source="folder", path=str(folder), task="node_classification")
    before = fingerprint(config)
    (folder / "graphs.csv").unlink()
    assert fingerprint(config) == before


def test_a_name_that_stands_for_its_content_needs_no_files(dataset_config: MakeConfig) -> None:
    assert fingerprint(dataset_config(name="Cora", source="planetoid")) == ""


def loaded(folder: Path, make: MakeConfig) -> GraphDataset:
    return load_dataset(make(name=folder.name, source="folder", path=str(folder)), DataConfig())


def test_code_of_the_user_counts_and_that_of_pyg_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mark(target: str, transforms: str = "") -> str:
        (found,) = load_configs(["dataset=pyg", f"dataset.target={target}", f"dataset.transforms=[{transforms}]"])
        return fingerprint(found.dataset)

    airports, code = "torch_geometric.datasets.Airports", tmp_path / "marked_code.py"
    monkeypatch.syspath_prepend(tmp_path)
    assert mark(airports) == mark(airports, "torch_geometric.transforms.ToUndirected") == ""
    code.write_text("first = 1\n")
    first = mark(airports, "marked_code.shifted"), mark("marked_code.Airports")
    assert all(first) and first == (mark(airports, "marked_code.shifted"), mark("marked_code.Airports"))
    code.write_text("first = 2\n")
    second = mark(airports, "marked_code.shifted"), mark("marked_code.Airports")
    assert first[0] != second[0] and first[1] != second[1]
    assert mark("no_such_module.Airports") != "", "loading it raises the error"


def test_the_fingerprint_of_loaded_data_ignores_format_and_place(folder: Path, dataset_config: MakeConfig) -> None:
    first = data_fingerprint(loaded(folder, dataset_config))
    other = folder.parent / "archive"
    other.mkdir()
    np.savez(
        other / "data.npz",
        edge_index=np.array([[0, 1], [1, 0]]),
        y=np.array([0, 1]),
        batch=np.array([0, 0, 1]),
        x=np.array([[0.5], [1.5], [2.5]]),
    )
    assert data_fingerprint(loaded(other, dataset_config)) == first
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert data_fingerprint(loaded(folder, dataset_config)) == first


def test_every_part_of_loaded_data_counts(folder: Path, dataset_config: MakeConfig) -> None:
    dataset = loaded(folder, dataset_config)
    assert dataset.x is not None
    half = torch.tensor([0]), torch.tensor([1]), torch.tensor([1])
    variants = [
        dataset,
        replace(dataset, y=1 - dataset.y),
        replace(dataset, x=dataset.x + 1),
        replace(dataset, x=dataset.x.reshape(1, -1)),
        replace(dataset, x=None, category=torch.zeros(3, dtype=torch.int64)),
        replace(dataset, official=Split(*half)),
        replace(dataset, packed=dataset.packed.with_self_loops()),
        replace(dataset, num_classes=3),
    ]
    assert len({data_fingerprint(variant) for variant in variants}) == len(variants)
