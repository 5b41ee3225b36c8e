"""Fields of plug-ins: ordinary types reach the plug-in as its own; others are told in one line."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from dqrun import register
from dqrun.composition.compose import load_configs
from dqrun.composition.fields import list_fields
from dqrun.config import RunConfig
from dqrun.config.parts import as_given, own_config
from dqrun.config.reading import config_from
from dqrun.errors import ConfigError
from dqrun.methods import make_method
from dqrun.runs.protocol import cell_hash

HEAD = """
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Annotated, Literal, Optional, Union
import datetime
import dqrun.register
from dqrun.methods.naive import Naive, NaiveConfig
from dqrun.config.rules import doc

class Shape(Enum):
    ROUND = 1
    FLAT = 2

@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    shape: Shape = Shape.ROUND
"""
FIELDS = """
    kind: Literal["a", "b"] = "a"
    level: Literal[1, 2, None] = 2
    maybe: Optional[int] = None
    sizes: list[int] = field(default_factory=lambda: [1, 2])
    pair: tuple[int, float] = (1, 2.0)
    many: tuple[str, ...] = ("x",)
    shape: Shape = Shape.FLAT
    place: Path = Path("here")
    either: int | str = 3
    wide: int | list[int] = 4
    names: set[str] = field(default_factory=lambda: {"u", "v"})
    table: dict[str, float] = field(default_factory=dict)
    inner: Inner = field(default_factory=Inner)
    perhaps: Inner | None = None
    rate: Annotated[float, "x"] = doc("a rate", 0.5)
    free: Any = 1
"""
MODEL = f"""{HEAD}
@dataclass
class Fields:{FIELDS}
@dqrun.register.model("typed", config=Fields)
def typed(config, in_channels, out_channels): ...
"""
METHOD = f"""{HEAD}
@dataclass
class Fields(NaiveConfig):{FIELDS.replace("    kind:", "    sort_of:")}
    def validate(self):
        super().validate()
        assert isinstance(self.shape, Shape) and isinstance(self.inner, Inner)
@dqrun.register.method("typed", config=Fields)
class Typed(Naive): ...
"""


@pytest.fixture
def plug_in(tmp_path: Path) -> Iterator[Any]:
    def write(text: str) -> str:
        path = tmp_path / "typed.py"
        path.write_text(text)
        return f"plugins=[{path}]"

    yield write
    for kind in register.KINDS:
        for name in kind.added():
            kind.remove(name)


def load(*words: str) -> RunConfig:
    (config,) = load_configs(words)
    return config


WORDS = {
    "sizes": "[3,4]",
    "pair": "[5,1.5]",
    "many": "[1e3,y]",
    "shape": "ROUND",
    "place": "/a/b",
    "either": "text",
    "wide": "[7]",
    "names": "[w]",
    "table": "{k: 2}",
    "inner.rate": "0.25",
    "inner.shape": "FLAT",
    "level": "null",
    "maybe": "9",
}


def check(own: Any, choice: str) -> None:
    shapes = type(own.shape)
    assert getattr(own, choice) == "b" and own.level is None and own.maybe == 9
    assert own.sizes == [3, 4] and own.pair == (5, 1.5) and own.many == ("1e3", "y")
    assert own.shape is shapes.ROUND and own.place == Path("/a/b") and own.either == "text" and own.wide == [7]
    assert own.names == {"w"} and own.table == {"k": 2.0} and own.rate == 0.5 and own.free == 1
    assert own.inner.rate == 0.25 and own.inner.shape is shapes.FLAT and own.perhaps is None
    assert type(own.inner).__name__ == "Inner" and type(own.inner).__dataclass_params__.frozen


@pytest.mark.parametrize(("part", "text", "choice"), [("model", MODEL, "kind"), ("method", METHOD, "sort_of")])
def test_ordinary_types_reach_the_plug_in(plug_in: Any, part: str, text: str, choice: str) -> None:
    typed, others = [plug_in(text), f"{part}=typed"], {**WORDS, choice: "b"}
    words = [f"{part}.{name}={value}" for name, value in others.items()]
    plain, config = load(*typed), load(*typed, *words)
    check(own_config(getattr(config, part)), choice)
    assert own_config(getattr(plain, part)).names == {"u", "v"}
    tree = json.loads(json.dumps(asdict(config)))
    assert config_from(tree) == config == pickle.loads(pickle.dumps(config))
    assert cell_hash(config) != cell_hash(plain)
    assert list_fields()[f"{part}.{choice}"].kind == "one of a, b"
    if part == "method":
        check(make_method(config).config, choice)
    else:
        check(as_given(config.model), choice)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("model.kind=c", "model.kind must be one of a, b, got 'c'"),
        ("model.level=3", "model.level must be one of 1, 2, null, got 3"),
        ("model.shape=SQUARE", "model.shape must be one of ROUND, FLAT, got 'SQUARE'"),
        ("model.pair=[1]", "model.pair must be a list of 2: an integer, a number, got [1]"),
        ("model.pair=[a,1]", "model.pair[0] must be an integer, got 'a'"),
        ("model.wide=[x]", "model.wide must be an integer or a list of integers, got ['x']"),
        ("model.sizes=[x]", "model.sizes[0] must be a list of integers, got 'x'"),
        ("model.inner.shape=1", "model.inner.shape must be one of ROUND, FLAT, got '1'"),
    ],
)
def test_wrong_values_are_told_in_one_line(plug_in: Any, word: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(plug_in(MODEL), "model=typed", word)
    assert str(caught.value) == told


@pytest.mark.parametrize(
    ("field", "told"),
    [
        ("when: datetime.date = None", "field 'when' has type date, known are numbers"),
        ("n: complex = 1j", "field 'n' has type complex, known are numbers"),
        ("n: list[bytes] = None", "field 'n' has type bytes, known are numbers"),
        ("n: dict[Shape, Path] = None", ""),
        ("n: dict[tuple, int] = None", "field 'n' has type dict[tuple, int], known are numbers"),
        ("n: 'Missing' = 1", "config Fields has a field whose type can't be read: name 'Missing' is not defined"),
        ("n: int = 'a'", "field 'n', its default, must be an integer, got 'a'"),
        ("n: Literal['a'] = 'b'", "field 'n', its default, must be one of a, got 'b'"),
    ],
)
def test_types_that_no_configuration_holds(plug_in: Any, field: str, told: str) -> None:
    end = "@dqrun.register.model('typed', config=Fields)\ndef typed(): ...\n"
    text = f"{HEAD}\n@dataclass\nclass Fields:\n    {field}\n\n{end}"
    with pytest.raises(ConfigError) as caught:
        load(plug_in(text), "model=typed")
    message = str(caught.value)
    assert told in message and "register.model('typed' in typed.py)" in message and "\n" not in message
