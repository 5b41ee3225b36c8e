"""ZINC: a small raw folder in its format, and broken files."""

from __future__ import annotations

import io
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dqrun.config import DataConfig, DatasetConfig, ProtocolConfig
from dqrun.data.dataset import GraphDataset, load_dataset
from dqrun.data.splits import split_for
from dqrun.errors import DataError

MakeConfig = Callable[..., DatasetConfig]
SIZES = {"train": 5, "val": 2, "test": 3}


def molecule(atoms: int) -> dict[str, torch.Tensor]:
    bonds = torch.diag(torch.ones(atoms - 1, dtype=torch.uint8), 1)
    return {
        "atom_type": torch.arange(atoms, dtype=torch.uint8),
        "bond_type": bonds + bonds.T,
        "logP_SA_cycle_normalized": torch.tensor([atoms / 2]),
    }


@pytest.fixture
def raw(cache: Path) -> Path:
    """Molecules are chains of 3, 4, ... atoms; each index names all but the first molecule of its pickle."""
    raw = cache / "ZINC" / "raw"
    raw.mkdir(parents=True)
    for part, size in SIZES.items():
        (raw / f"{part}.pickle").write_bytes(pickle.dumps([molecule(3 + number) for number in range(size + 1)]))
        (raw / f"{part}.index").write_text(",".join(str(number + 1) for number in range(size)) + "\n")
    return raw


def load(cache: Path, make: MakeConfig) -> GraphDataset:
    config = make(name="ZINC", source="zinc", task="graph_regression", features="category")
    return load_dataset(config, DataConfig(root=str(cache)))


def test_parts_are_the_official_ones(raw: Path, cache: Path, dataset_config: MakeConfig) -> None:
    dataset = load(cache, dataset_config)
    assert dataset.y.tolist() == [2, 2.5, 3, 3.5, 4, 2, 2.5, 2, 2.5, 3] and dataset.y.dtype == torch.float32
    split = split_for(dataset, ProtocolConfig(name="seeds"), None)
    assert (split.train.tolist(), split.val.tolist(), split.test.tolist()) == ([0, 1, 2, 3, 4], [5, 6], [7, 8, 9])
    graph, nodes = dataset.packed.gather(torch.tensor([5]))
    assert dataset.category is not None and dataset.category[nodes].tolist() == [0, 1, 2, 3]
    assert graph.csr.in_degree.tolist() == [1, 2, 2, 1]


@pytest.mark.parametrize("name", ["train.pickle", "val.pickle", "test.pickle", "train.index", "test.index"])
def test_a_truncated_file_is_named(name: str, raw: Path, cache: Path, dataset_config: MakeConfig) -> None:
    broken = raw / name
    broken.write_bytes(broken.read_bytes()[:-2])
    with pytest.raises(DataError) as error:
        load(cache, dataset_config)
    assert str(broken) in str(error.value) and "\n" not in str(error.value)


def test_an_index_outside_its_pickle_is_named(raw: Path, cache: Path, dataset_config: MakeConfig) -> None:
    (raw / "val.index").write_text("1,9\n")
    with pytest.raises(DataError, match=r"val\.index: val\.pickle has no molecule 9"):
        load(cache, dataset_config)


def test_a_pickle_of_something_else_is_named(raw: Path, cache: Path, dataset_config: MakeConfig) -> None:
    (raw / "val.pickle").write_bytes(pickle.dumps([{"atom_type": 1}] * 3))
    with pytest.raises(DataError, match=r"val\.pickle: molecule 1 must have atom_type, bond_type"):
        load(cache, dataset_config)


class Planted:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def test_code_in_a_pickle_does_not_run(raw: Path, cache: Path, tmp_path: Path, dataset_config: MakeConfig) -> None:
    inner = io.BytesIO()
    torch.save(Planted(tmp_path / "mark"), inner, _use_new_zipfile_serialization=False)

    class Storage:
        def __reduce__(self) -> tuple[object, tuple[bytes]]:
            return torch.storage._load_from_bytes, (inner.getvalue(),)

    class Tensor:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return torch._utils._rebuild_tensor_v2, (Storage(), 0, (1,), (1,), False, OrderedDict())

    bad = molecule(3) | {"bond_type": Tensor()}
    for content in ([Planted(tmp_path / "mark")] * 3, [molecule(3), bad, bad]):
        (raw / "val.pickle").write_bytes(pickle.dumps(content))
        with pytest.raises(DataError, match=r"val\.pickle: .*it asks for posix\.mkdir"):
            load(cache, dataset_config)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("ending", ["", "\r\n", "\n\n"])
def test_the_last_molecule_of_an_index_counts_however_the_file_ends(
    ending: str, raw: Path, cache: Path, dataset_config: MakeConfig
) -> None:
    index = raw / "val.index"
    index.write_bytes((index.read_text().rstrip() + ending).encode())
    assert load(cache, dataset_config).y.tolist()[5:7] == [2, 2.5]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (
            {"logP_SA_cycle_normalized": torch.tensor([1e39], dtype=torch.float64)},
            "must be one finite number in float32",
        ),
        ({"logP_SA_cycle_normalized": torch.zeros(2)}, "must be one finite number"),
        ({"atom_type": torch.tensor([-1, 0, 1, 2])}, r"must be in 0\.\.999"),
        ({"bond_type": torch.zeros(3, 3)}, r"bond_type \[n, n\]"),
        ({"bond_type": "C-C"}, "a tensor was expected"),
    ],
)
def test_a_molecule_that_breaks_a_rule_is_named(
    change: dict[str, object], rule: str, raw: Path, cache: Path, dataset_config: MakeConfig
) -> None:
    (raw / "val.pickle").write_bytes(pickle.dumps([molecule(3), molecule(4) | change, molecule(5)]))
    with pytest.raises(DataError, match=rf"val\.pickle: molecule 1.*{rule}"):
        load(cache, dataset_config)
