"""Citation networks: the published figures, and broken files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dqrun.config import DataConfig, DatasetConfig, ProtocolConfig
from dqrun.data.dataset import load_dataset
from dqrun.data.sources.planetoid import PICKLES, check
from dqrun.data.splits import split_for
from dqrun.data.trial_data import TrialData
from dqrun.errors import DataError
from dqrun.graph import dense

MakeConfig = Callable[..., DatasetConfig]


def cora(make: MakeConfig) -> DatasetConfig:
    return make(name="Cora", source="planetoid", task="node_classification", features="given", normalize_rows=True)


def test_cora_is_the_published_network(real_data: DataConfig, dataset_config: MakeConfig) -> None:
    dataset = load_dataset(cora(dataset_config), real_data)
    assert (dataset.num_graphs, dataset.num_nodes, dataset.num_edges, dataset.num_classes) == (1, 2708, 10556, 7)
    split = split_for(dataset, ProtocolConfig(name="seeds"), None)
    assert split.train.tolist() == list(range(140))
    assert split.val.tolist() == list(range(140, 640))
    assert split.test.tolist() == list(range(1708, 2708))
    data = TrialData.build(dataset, split, cora(dataset_config), 128, True, "cpu")
    (batch,) = data.batches("train")
    torch.testing.assert_close(dense(batch.x).sum(1), torch.ones(2708))
    assert batch.graph.csr.num_edges == 10556 + 2708
    assert batch.index is not None and torch.bincount(batch.y[batch.index]).tolist() == [20] * 7


@pytest.mark.parametrize("part", [*PICKLES, "test.index"])
def test_a_truncated_file_is_named(part: str, real_data: DataConfig, tmp_path: Path) -> None:
    assert real_data.resolved_mirror is not None
    raw = tmp_path / "raw"
    shutil.copytree(real_data.resolved_mirror / "Cora" / "raw", raw)
    broken = raw / f"ind.cora.{part}"
    broken.chmod(0o644)
    content = broken.read_bytes()
    broken.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError) as error:
        check(raw, "ind.cora")
    assert str(broken) in str(error.value) and "\n" not in str(error.value)
