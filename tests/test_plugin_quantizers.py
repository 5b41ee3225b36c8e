"""`quant.quantizer`: a quantiser of a plug-in in place of the method's own."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import dqrun
from dqrun.cli import main
from dqrun.composition.compose import load_configs
from dqrun.config.reading import PluginNeeded, config_from
from dqrun.errors import ConfigError
from dqrun.plugins import versions_of
from dqrun.plugins.loading import forget
from dqrun.quant import named_sites
from dqrun.runs.protocol import cell_hash

COARSE = '''
from dataclasses import replace

import torch

from dqrun import register
from dqrun.quant import Quantizer, RangeObserver, Rounding


class PowerOfTwo(Rounding):
    """To the nearest power of two in magnitude, straight through."""

    def forward(self, tensor, scales):
        x = tensor.x
        rounded = x.sign() * torch.exp2(x.abs().clamp(min=1e-6).log2().round())
        return x + (rounded - x).detach()


@register.quantizer("pow2")
def pow2(point, spec):
    if not point.is_weight:
        return None
    return Quantizer(RangeObserver(spec, point.scale_shape), PowerOfTwo(spec), name=point.name)
'''
WORDS = ["model=gcn", "quant=int4", "quant.quantizer=pow2", "dataset.graphs=20", "train.epochs=2", "threads=1"]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A plug-in in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DQRUN_PLUGINS", raising=False)
    (tmp_path / "coarse.py").write_text(COARSE)
    yield tmp_path / "coarse.py"
    for name in [name for name in sys.modules if name.startswith("dqrun_plugin_")]:
        forget(name)


def test_it_stands_where_it_says_and_trains(plugin: Path) -> None:
    assert main(["plugins=[./coarse.py]", *WORDS, "protocol.trials=1"]) == 0
    (file,) = Path("results/runs").glob("*/row.json")
    row = json.loads(file.read_text())
    assert row["status"] == "done" and row["quant"] == "int4-pow2" and "coarse.py" in row["dqrun_version"]
    weights, activations = read_model(file.parent)
    assert weights == {"PowerOfTwo"} and activations == {"UniformRounding"}


def read_model(folder: Path) -> tuple[set[str], set[str]]:
    """What rounds weights, and what rounds activations, in the network of a run."""
    sites = dict(named_sites(dqrun.load_model(folder)))
    kinds = [(site.is_weight, type(site.quantizer.rounding).__name__) for site in sites.values() if site.quantizer]
    return {kind for weight, kind in kinds if weight}, {kind for weight, kind in kinds if not weight}


def test_it_is_a_part_of_what_tells_results_apart(plugin: Path) -> None:
    with_it, without = (
        load_configs(["plugins=[./coarse.py]", *words])[0] for words in (WORDS, [*WORDS[:2], *WORDS[3:]])
    )
    assert list(versions_of(with_it)) == ["coarse.py"] and versions_of(without) == {}
    assert cell_hash(with_it) != cell_hash(without)


def test_an_unknown_one_is_refused(plugin: Path) -> None:
    with pytest.raises(ConfigError, match=r"^quant\.quantizer must be one of pow2, got 'pow3'; did you mean 'pow2'\?"):
        load_configs(["plugins=[./coarse.py]", "quant.quantizer=pow3"])


def test_a_stored_configuration_names_the_plugin_that_it_needs() -> None:
    with pytest.raises(PluginNeeded, match=r"quant.quantizer=pow2 comes from a plug-in: give plugins=\[./coarse.py\]"):
        config_from({"quant": {"quantizer": "pow2"}, "plugins": ["./coarse.py"]})


def test_a_program_refuses_a_rounding_that_is_not_uniform(plugin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan=integer", "evaluate.engine=integer", "protocol.trials=1"]
    assert main(["plugins=[./coarse.py]", *WORDS, *words]) == 2
    said = capsys.readouterr().err
    assert "weight must be rounded to equidistant values in an integer program, got PowerOfTwo" in said
    assert "epoch" not in said, "it is told before the training"
