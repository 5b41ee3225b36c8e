"""A layer that is registered outside the package: the one of docs/reference/models.md, as it stands there."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from dqrun import register
from dqrun.bench.peers import PyGNetwork
from dqrun.composition.compose import load_configs
from dqrun.errors import ConfigError
from dqrun.graphs.pyg import build_graph
from dqrun.integer.lower import lower
from dqrun.integer.simulation import simulate
from dqrun.nn.build import build_model
from dqrun.nn.costs import Size, costs

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "models.md"
WORDS = ["dataset=cora", "model=plain_sum", "model.layers=2", "model.hidden=16", "quant=int8"]


@pytest.fixture(autouse=True)
def plain_sum(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    module = ModuleType("mine")
    monkeypatch.setitem(sys.modules, "mine", module)
    exec(compile(code, PAGE.name, "exec", dont_inherit=True), vars(module))
    yield
    register.layer.remove("plain_sum")


def test_it_trains_and_its_program_gives_its_codes() -> None:
    (config,) = load_configs([*WORDS, "plan=integer", "model.scale=0.5"])
    torch.manual_seed(0)
    model = build_model(config, 6, 0, 3)
    x, graph = torch.randn(30, 6), build_graph(torch.randint(30, (2, 90)), 30, None, False)
    model(x, graph).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    program, judged = lower(model.eval()), simulate(model, x, graph)
    values = program.trace(x, graph)
    assert not judged.tie and set(values) == {*judged.codes, "logits"}
    assert all(torch.equal(values[name].unpack().int(), expected) for name, expected in judged.codes.items())
    assert costs(model, Size(30, 90)).macs == 30 * (6 * 16 + 16 * 3) + 90 * (16 + 3)


def test_what_it_does_not_define_is_refused_in_one_line() -> None:
    (config,) = load_configs(WORDS)
    with pytest.raises(ConfigError, match=r"^PlainSum has no layer of PyG to be compared with.*define to_pyg$"):
        PyGNetwork(build_model(config, 6, 0, 3), config.model)


def test_its_fields_are_its_own() -> None:
    with pytest.raises(ConfigError, match=r"^model\.scale must be a number"):
        load_configs([*WORDS, "model.scale=wide"])
    with pytest.raises(ConfigError, match=r"model\.scale is a field of model=plain_sum alone"):
        load_configs(["dataset=cora", "model=gcn", "model.scale=2.0"])
