"""Citation networks: the published figures, and broken files."""

from __future__ import annotations

import os
import pickle
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from dqrun.config import DataConfig, DatasetConfig, ProtocolConfig
from dqrun.data import published_files
from dqrun.data.dataset import GraphDataset, load_dataset
from dqrun.data.fingerprint import data_fingerprint
from dqrun.data.sources.planetoid import PICKLES
from dqrun.data.splits import split_for
from dqrun.data.trial_data import TrialData
from dqrun.errors import DataError
from dqrun.graphs import dense

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


WORDS, CLASSES, KNOWN, TESTED = 4, 2, 510, 6  # of a small network in the same format, with a gap at node 512


def matrix(rows: int, first: int) -> csr_matrix:
    """Row i has the word (first + i) % WORDS."""
    columns = (first + np.arange(rows)) % WORDS
    return csr_matrix((np.ones(rows, np.float32), columns, np.arange(rows + 1)), (rows, WORDS))


def labels(rows: int, first: int) -> np.ndarray:
    return np.eye(CLASSES, dtype=np.int32)[(first + np.arange(rows)) % CLASSES]


@pytest.fixture
def raw(cache: Path) -> Path:
    """A ring of 517 nodes, written as Python 2 wrote the published files; test nodes 510, 511, 513..516, shuffled."""
    raw, node = cache / "Cora" / "raw", defaultdict(list)
    raw.mkdir(parents=True)
    for i in range(KNOWN + TESTED + 1):
        node[i] = [(i + 1) % (KNOWN + TESTED + 1), i, (i + 1) % (KNOWN + TESTED + 1)]
    parts = {"x": matrix(10, 0), "y": labels(10, 0), "allx": matrix(KNOWN, 0), "ally": labels(KNOWN, 0)}
    parts |= {"tx": matrix(TESTED, 1), "ty": labels(TESTED, 1), "graph": node}
    for name, value in parts.items():
        (raw / f"ind.cora.{name}").write_bytes(pickle.dumps(value, protocol=2))
    (raw / "ind.cora.test.index").write_text("511\n510\n516\n515\n513\n514\n")
    return raw


@pytest.fixture
def load(
    raw: Path, cache: Path, dataset_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], GraphDataset]:
    monkeypatch.delitem(published_files.PUBLISHED, "Cora")
    return lambda: load_dataset(cora(dataset_config), DataConfig(root=str(cache)))


def test_a_small_network_is_what_its_files_say(load: Callable[[], GraphDataset]) -> None:
    dataset = load()
    assert dataset.x is not None and dataset.official is not None
    order = {511: 1, 510: 2, 516: 3, 515: 4, 513: 5, 514: 6}
    words = [node % WORDS if node < KNOWN else order.get(node, -1) % WORDS for node in range(517)]
    expected = torch.eye(WORDS)[words]
    expected[512] = 0
    assert torch.equal(dataset.x, expected)
    assert dataset.y[508:].tolist() == [0, 1, 0, 1, 0, 1, 0, 0, 1]
    assert dataset.num_edges == 517  # loops and repeated edges are left out
    assert dataset.packed.edges.col.tolist() == [516, *range(516)]
    parts = [dataset.official.part(name).tolist() for name in ("train", "val", "test")]
    assert parts == [list(range(10)), list(range(10, 510)), [510, 511, 513, 514, 515, 516]]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.rstrip(b"\n"),
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: b"\xef\xbb\xbf" + text + b"\n\n",
    ],
    ids=["no last newline", "CRLF", "byte order mark, blank last lines"],
)
def test_the_last_test_node_counts_however_its_line_ends(
    change: Callable[[bytes], bytes], raw: Path, cache: Path, load: Callable[[], GraphDataset]
) -> None:
    before = data_fingerprint(load())
    (cache / "Cora" / "dqrun-data.safetensors").unlink()
    path = raw / "ind.cora.test.index"
    path.write_bytes(change(path.read_bytes()))
    assert data_fingerprint(load()) == before


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ("test.index", "511\n510\n516\n515\n513\n"),
        ("test.index", "511\n510\n516\n515\n513\n513\n"),
        ("test.index", "511\n510\n516\n515\n513\n9999999\n"),
        ("test.index", "511\n\n510\n516\n515\n513\n514\n"),
        ("x", matrix(9, 0)),
        ("tx", matrix(TESTED, 1)[:, :3]),
        ("allx", csr_matrix((np.array([np.inf]), ([0], [0])), (KNOWN, WORDS))),
        ("allx", csr_matrix((KNOWN, 2**40))),
        ("graph", {0: [1, 517]}),
        ("graph", {0: [1, -1]}),
        ("graph", {0: [1, 1.5]}),
        ("graph", [[1], [0]]),
        ("y", "no matrix"),
    ],
)
def test_a_file_that_does_not_fit_is_named(
    part: str, content: object, raw: Path, load: Callable[[], GraphDataset]
) -> None:
    data = content.encode() if isinstance(content, str) and part == "test.index" else pickle.dumps(content)
    (raw / f"ind.cora.{part}").write_bytes(data)
    with pytest.raises(DataError) as error:
        load()
    assert f"ind.cora.{part}" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("part", [*PICKLES, "test.index"])
def test_a_truncated_file_is_named(part: str, raw: Path, load: Callable[[], GraphDataset]) -> None:
    broken = raw / f"ind.cora.{part}"
    content = broken.read_bytes()
    broken.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError) as error:
        load()
    assert str(broken) in str(error.value) and "\n" not in str(error.value)


class Planted:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("part", PICKLES)
def test_code_in_a_pickle_does_not_run(part: str, raw: Path, tmp_path: Path, load: Callable[[], GraphDataset]) -> None:
    (raw / f"ind.cora.{part}").write_bytes(pickle.dumps({0: [Planted(tmp_path / "mark")]}))
    with pytest.raises(DataError, match=rf"ind\.cora\.{part}: truncated or not .*it asks for posix\.mkdir"):
        load()
    assert not (tmp_path / "mark").exists()


def test_files_that_differ_from_the_published_ones_are_told(
    raw: Path, cache: Path, dataset_config: MakeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    load_dataset(cora(dataset_config), DataConfig(root=str(cache)))
    assert "ind.cora.x" in caplog.text and "differs from the published file of Cora" in caplog.text
