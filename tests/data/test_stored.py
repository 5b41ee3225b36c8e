"""Code that a stored configuration names: PyG's own and what the user trusts; nothing else is imported."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dqrun.config import DataConfig, DatasetConfig
from dqrun.config.parts import part_type
from dqrun.data.stored import load_stored
from dqrun.errors import ConfigError, DqrunError

Planted = Callable[[], list[str]]
GENERATED = "torch_geometric.datasets.FakeDataset"


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Planted:
    """A module beside the user, which notes that it is imported; gives its notes."""
    (tmp_path / "planted.py").write_text("from builtins import dict as Graphs\nopen('ran', 'a').write('x')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DQRUN_PLUGINS", raising=False)
    monkeypatch.delitem(sys.modules, "planted", raising=False)
    return lambda: [path.name for path in tmp_path.glob("ran")]


def stored(target: str, *transforms: str) -> DatasetConfig:
    args = {"num_graphs": 2, "avg_num_nodes": 4} if target == GENERATED else {}
    made = part_type("dataset", "pyg")
    return made(
        name="mine", source="pyg", task="graph_classification", target=target, args=args, transforms=list(transforms)
    )


@pytest.mark.parametrize(
    ("target", "transform", "field"),
    [
        ("planted.Graphs", "", "target"),
        ("subprocess.Popen", "", "target"),
        ("torch_geometric.datasets.planetoid.Planetoid", "", "target"),
        (GENERATED, "planted.Graphs", "transforms"),
        (GENERATED, "torch_geometric.datasets.FakeDataset", "transforms"),
    ],
)
def test_nothing_but_pygs_own_is_imported(target: str, transform: str, field: str, planted: Planted) -> None:
    with pytest.raises(ConfigError, match=rf"dataset\.{field} must be of torch_geometric\.\w+ where results name it"):
        load_stored(stored(target, *filter(None, [transform])), DataConfig())
    assert planted() == []


def test_pygs_own_are_read(planted: Planted) -> None:
    dataset = load_stored(stored(GENERATED, "torch_geometric.transforms.ToUndirected"), DataConfig())
    assert dataset.num_graphs == 2


def test_a_module_that_the_user_names_is_trusted(planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DQRUN_PLUGINS", "planted")
    with pytest.raises(DqrunError, match=r"holds no graphs|is no dataset"):
        load_stored(stored("planted.Graphs"), DataConfig())
    assert planted() == ["ran"]


def test_only_commands_that_train_read_what_a_command_line_names(repository: Path) -> None:
    package = repository / "dqrun"
    files = {path.relative_to(package): path.read_text(encoding="utf-8") for path in package.rglob("*.py")}
    reading = {path.as_posix() for path, text in files.items() if "load_dataset(" in text and path.parts[0] != "data"}
    assert reading == {"bench/inference.py", "bench/workload.py", "sweep/following.py", "sweep/worker.py"}
    assert "require_known_code(config.dataset)" in files[Path("cli/verbs/continuing.py")]
