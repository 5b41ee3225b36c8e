"""Plug-ins: names and fields without YAML, one-line errors, identity of trials, and who imports them."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from dqrun import register
from dqrun.cli import main
from dqrun.cli.candidates import override_candidates
from dqrun.composition.compose import load_configs
from dqrun.config import RunConfig
from dqrun.config.reading import PluginNeeded, config_from
from dqrun.errors import ConfigError
from dqrun.plugins import load_plugins, typed_plugins, versions_of
from dqrun.plugins.loading import forget
from dqrun.runs.protocol import canonical, cell_hash, identity
from dqrun.runs.row import hyperparameters

MINE = '''
from dataclasses import dataclass

import torch

from dqrun import register
from dqrun.config.rules import doc


@dataclass
class Fields:
    """A network of the user's."""

    width: int = doc("channels of the hidden layer", 4)
    label: str = doc("a text", "a")

    def validate(self):
        if self.width < 1:
            raise ValueError("model.width must be >= 1")


@register.model("mine", config=Fields)
class Net(torch.nn.Module):
    def __init__(self, config, in_channels, out_channels):
        super().__init__()
        self.first = torch.nn.Linear(in_channels, config.width)
        self.last = torch.nn.Linear(config.width, out_channels)

    def forward(self, x, edge_index, batch=None, edge_weight=None, edge_attr=None):
        h = self.last(self.first(x).relu())
        return h if batch is None else h.new_zeros(int(batch.max()) + 1, h.size(1)).index_add(0, batch, h)
'''
SMALL = ["dataset.graphs=20", "train.epochs=1", "protocol.trials=1", "threads=1"]


@pytest.fixture(autouse=True)
def nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("DQRUN_PLUGINS", raising=False)
    yield
    forget_all()


def forget_all() -> None:
    for name in [name for name in sys.modules if name.startswith("dqrun_plugin_")]:
        forget(name)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plug-in in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path / "mine.py"


def load(*words: str, plugins: str = "plugins=[./mine.py]") -> RunConfig:
    (config,) = load_configs([plugins, *words])
    return config


def test_a_registered_network_needs_no_yaml(mine: Path) -> None:
    config = load("model=mine", "model.width=8", "model.label=007")
    assert vars(config.model)["width"] == 8 and vars(config.model)["label"] == "007", "text stays as it was typed"
    assert config.model.name == "mine" and config.plugins == ["./mine.py"]
    assert hyperparameters(config).keys().isdisjoint({"layers", "hidden", "dropout"}), "it has no such sizes"


def test_its_batch_norms_may_be_estimated_again(mine: Path) -> None:
    hashes = {cell_hash(load("model=mine", "quant=int8", f"train.bn_reestimation={graphs}")) for graphs in (0, 8)}
    assert len(hashes) == 2, "the setting counts, for the network may have batch norms"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["model=mine", "model.width=x"], "model.width must be an integer, got 'x'"),
        (["model=mine", "model.widht=2"], "there is no field 'model.widht'; did you mean 'model.width'?"),
        (["model=mine", "model.width=0"], "model: model.width must be >= 1"),
        (["model=mine", "model.heads=2"], "model.heads must not be set for model=mine, which has label, width, got 2"),
        (["model=gcn", "model.width=3"], "model.width is a field of model=mine alone"),
        (["model=gcn", "+model.width=3"], "model.width is a field of model=mine alone"),
        (["model=mime"], "model must be one of gat, gcn, gin, mine, got 'mime'; did you mean 'mine'?"),
    ],
)
def test_mistakes_are_told_in_one_line(mine: Path, words: list[str], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(*words)
    said = str(caught.value).replace(" gine,", "").replace(" gatv2,", "").replace(" sage,", "")
    assert said == text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("x = 1\nimport nothing_like_this\n", "mine.py, line 2): ModuleNotFoundError: No module named"),
        ("def f(:\n", "mine.py, line 1): SyntaxError"),
        ("\n\nraise SystemExit('no')\n", "mine.py, line 3): SystemExit: no"),
    ],
)
def test_a_file_that_cannot_be_imported_is_named_with_its_line(mine: Path, content: str, text: str) -> None:
    mine.write_text(content)
    with pytest.raises(ConfigError) as caught:
        load_plugins(["./mine.py"])
    assert text in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value).startswith("plugins: ./mine.py can't be imported (")


def test_what_is_no_plugin_is_told(mine: Path) -> None:
    for words, text in (
        ("plugins=[./absent.py]", "plugins must name existing files"),
        ("plugins=[nothing_like_this]", "plugins: nothing_like_this can't be imported: ModuleNotFoundError"),
        ("plugins=./mine.py", "plugins must be one list"),
        ("plugins=[./mine.py],[]", "plugins must be one list"),
    ):
        with pytest.raises(ConfigError, match=f"^{text.replace('[', '.')}"):
            load("model=gcn", plugins=words)


def test_a_preset_cannot_bring_code(mine: Path, tmp_path: Path) -> None:
    (tmp_path / "own" / "experiment").mkdir(parents=True)
    (tmp_path / "own" / "experiment" / "e.yaml").write_text("# @package _global_\nplugins: [./mine.py]\n")
    with pytest.raises(ConfigError, match="plugins must be given on the command line or in DQRUN_PLUGINS"):
        load_configs(["experiment=e"], config_dir=str(tmp_path / "own"))
    assert "mine" not in register.model


def test_a_preset_of_a_plugins_model(mine: Path, tmp_path: Path) -> None:
    (tmp_path / "own" / "model").mkdir(parents=True)
    (tmp_path / "own" / "model" / "wide.yaml").write_text("defaults: [mine]\nwidth: 99\n")
    (config,) = load_configs(["plugins=[./mine.py]", "model=wide"], config_dir=str(tmp_path / "own"))
    assert config.model.name == "mine" and vars(config.model)["width"] == 99


def test_the_environment_names_plugins_too(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DQRUN_PLUGINS", "./mine.py")
    assert load("model=mine", plugins="plugins=[]").plugins == ["./mine.py"]


def test_an_installed_package_announces_its_plugins(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = mine.parent / "site" / "somebody-1.5.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: somebody\nVersion: 1.5\n")
    (folder / "entry_points.txt").write_text("[dqrun.plugins]\nsomebody = somebody.nets\n")
    (mine.parent / "site" / "somebody").mkdir()
    (mine.parent / "site" / "somebody" / "nets.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(mine.parent / "site"))
    try:
        config = load("model=mine", plugins="plugins=[]")
        assert versions_of(config) == {"somebody": "1.5"}
    finally:
        forget("somebody.nets")


def test_a_folder_is_a_plugin(mine: Path) -> None:
    package = mine.parent / "parts"
    package.mkdir()
    (package / "__init__.py").write_text("from . import nets\n")
    (package / "nets.py").write_text(MINE)
    first = versions_of(load("model=mine", plugins="plugins=[./parts]"))
    (package / "nets.py").write_text(MINE + "# changed\n")
    second = versions_of(load("model=mine", plugins="plugins=[./parts]"))
    assert first.keys() == second.keys() == {"parts"} and first != second


def test_the_hash_knows_the_file_of_what_is_used_and_of_nothing_else(mine: Path) -> None:
    alone = cell_hash(load("model=gcn", plugins="plugins=[]"))
    assert cell_hash(load("model=gcn")) == alone, "a plug-in that is not used"
    before = load("model=mine")
    first = cell_hash(before)
    assert identity(before)["plugins"].keys() == {"mine.py"}
    mine.write_text(MINE + "# another version\n")
    assert cell_hash(load("model=mine")) != first
    mine.write_text(MINE)
    assert cell_hash(load("model=mine")) == first


def test_a_configuration_travels_to_another_process(mine: Path) -> None:
    config = load("model=mine", "model.width=8")
    again = pickle.loads(pickle.dumps(config))
    assert again == config and type(again.model) is type(config.model)


def test_fp32_has_no_method_that_a_plug_in_could_lack(mine: Path) -> None:
    for words in (["model=gcn"], ["model=mine"]):
        config = load(*words, "quant=fp32")
        stored = asdict(canonical(config))
        assert stored["method"]["kind"] == "none"
        assert config_from(stored) == canonical(config)


def test_a_stored_configuration_runs_no_code(mine: Path) -> None:
    tree: dict[str, Any] = asdict(load("model=mine", "model.width=3"))
    forget_all()
    with pytest.raises(PluginNeeded, match=r"^model.name=mine comes from a plug-in: give plugins=\[./mine.py\] again$"):
        config_from(tree)
    load_plugins(["./mine.py"])
    assert vars(config_from(tree).model)["width"] == 3


def test_help_and_completion_know_them(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help", "plugins=[./mine.py]"]) == 0
    shown = capsys.readouterr().out
    assert "  model.width  model=mine: channels of the hidden layer (an integer, default 4)\n" in shown
    words = ["plugins=[./mine.py]", "model=mine"]
    assert override_candidates(words[:1], "model=mi", None) == ["model=mine"]
    assert override_candidates(words, "model.wi", None) == ["model.width="]
    assert override_candidates(words, "model.width=", None) == ["model.width=4"]
    assert override_candidates(words[:1], "model.width=", None) == []


@pytest.mark.parametrize("quant", ["fp32", "int8"])
def test_a_network_trains_and_is_read_again(mine: Path, capsys: pytest.CaptureFixture[str], quant: str) -> None:
    words = ["plugins=[./mine.py]", "model=mine", f"quant={quant}", *SMALL]
    assert main(["-q", *words]) == 0, capsys.readouterr().err
    (run,) = Path("results/runs").iterdir()
    forget_all()
    for reader in (["ls"], ["compare"], ["show", str(run)]):
        assert main(reader) == 0 and "mine" not in register.model, "a reader of rows imports no plug-in"
    capsys.readouterr()
    predict = ["predict", str(run), "--dataset", "threads", "-o", "p.csv"]
    assert main(predict) == 2 and "give plugins=[./mine.py] again" in capsys.readouterr().err
    assert main([*predict, words[0]]) == 0 and Path("p.csv").is_file()
    assert main([*predict[:-1], "e.csv", "--embeddings", words[0]]) == 2
    assert main(["export", str(run), words[0]]) == 2
    assert capsys.readouterr().err.count("\n") <= 2, "what can't be lowered is told in one line"


def test_a_module_that_cannot_be_swapped_is_named(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine.write_text(MINE.replace("super().__init__()", "super().__init__(); self.odd = torch.nn.Bilinear(2, 2, 1)"))
    assert main(["-q", "plugins=[./mine.py]", "model=mine", *SMALL]) == 2
    assert "odd (Bilinear) can't be quantised" in capsys.readouterr().err
    mine.write_text(mine.read_text().replace('model("mine"', 'model("mine", unsupported="fp32"'))
    assert main(["-q", "plugins=[./mine.py]", "model=mine", "quant=int8", *SMALL]) == 0, capsys.readouterr().err
    mine.write_text(mine.read_text().replace('unsupported="fp32"', 'unsupported="no"'))
    assert main(["-q", "plugins=[./mine.py]", "model=mine", *SMALL]) == 2
    assert "register.model('mine', unsupported=...) must be error or fp32, got 'no'" in capsys.readouterr().err


def test_typed_plugins() -> None:
    assert typed_plugins(["model=gcn", "plugins=[a.py]", "plugins=['b.py', c]"]) == ["b.py", "c"]
    assert typed_plugins(["plugins=[]"]) == [] and typed_plugins([]) == []
