"""`dqrun.register`: names, lazy built-ins, one-line errors."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

import pytest

from dqrun import register
from dqrun.errors import ConfigError
from dqrun.register import Entry, Registry


@dataclass
class Fields:
    width: int = 4


def make() -> Registry:
    return Registry("model", "model.name", {"gcn": Entry("dqrun.nn.gcn:GCNLayer")})


def test_a_registered_thing_is_found_with_its_fields() -> None:
    registry = make()

    @registry("mine", config=Fields)
    def mine() -> None: ...

    assert registry.get("mine") is mine and registry.config("mine") is Fields
    assert registry.names() == ("gcn", "mine") and registry.added() == ("mine",)
    assert registry.entry("mine").module == __name__


def test_a_built_in_thing_is_imported_when_asked_for() -> None:
    from dqrun.nn.gcn import GCNLayer

    assert make().get("gcn") is GCNLayer and make().config("gcn") is None


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"^model.name must be one of gcn, got 'gnc'; did you mean 'gcn'\?$"):
        make().get("gnc")


@pytest.mark.parametrize("name", ["", "2d", "a b", "a-b", "a.b", "x" * 61, 3])
def test_a_bad_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^register.model\(\.\.\.\) must be a letter, then"):
        make()(name)


def test_a_network_has_no_name_of_a_layer_and_the_other_way_round() -> None:
    told = r"^register\.model\(\.\.\.\) must give a new name, there is a layer of this name, got 'gcn'$"
    with pytest.raises(ConfigError, match=told):
        register.model("gcn")
    register.model("wholenetwork")(Fields)
    try:
        with pytest.raises(ConfigError, match=r"there is a model of this name, got 'wholenetwork'$"):
            register.layer("wholenetwork")
    finally:
        register.model.remove("wholenetwork")


def test_a_name_is_given_once() -> None:
    registry = make()
    with pytest.raises(ConfigError, match=r"must give a new name, dqrun has this one, got 'gcn'$"):
        registry("gcn")
    registry("mine")(Fields)
    registry("mine")(Fields)  # the same module, as when a notebook runs a cell again
    other: dict[str, object] = {"__name__": "other", "registry": registry}
    with pytest.raises(ConfigError, match=rf"must give a new name, {__name__} has this one, got 'mine'$"):
        exec("registry('mine')", other)


def test_what_is_registered_is_callable_and_its_fields_a_dataclass() -> None:
    with pytest.raises(ConfigError, match=r"register.model\('a'\) must decorate a class or a function, got 3$"):
        make()("a")(3)
    with pytest.raises(ConfigError, match=r"config=\.\.\.\) must be a dataclass, got <class 'int'>$"):
        make()("a", config=int)


def test_all_built_in_names_exist() -> None:
    for kind in register.KINDS:
        for name in set(kind.names()) - set(kind.added()):
            assert callable(kind.get(name)), f"{kind.kind} {name}"


def test_names_are_known_without_torch() -> None:
    lines = (
        "import sys, dqrun.register as r",
        "assert 'gcn' in r.layer and 'tu' in r.dataset",
        "assert 'torch' not in sys.modules",
    )
    subprocess.run([sys.executable, "-c", "; ".join(lines)], check=True)
