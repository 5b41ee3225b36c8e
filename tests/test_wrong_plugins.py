"""Plug-ins of the wrong kind: one line names the plug-in, the hook and the rule; labels may be text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

import dqrun
from dqrun import register
from dqrun.composition.compose import load_configs
from dqrun.config import RunConfig
from dqrun.config.dataset import DataConfig
from dqrun.data.dataset import load_dataset
from dqrun.errors import ConfigError, DataError, TrialFailed
from dqrun.graphs import Batch
from dqrun.methods import Method, Stage
from dqrun.methods.naive import Naive, NaiveConfig
from dqrun.quant import Phase, Point, QuantSpec
from dqrun.sweep.registered import require_right_kinds
from dqrun.training.metrics import make_metric, value_of

SMALL = ("dataset.graphs=20", "model.hidden=4", "model.layers=2", "train.epochs=2", "protocol.trials=1", "threads=1")


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    for kind in register.KINDS:
        for name in kind.added():
            kind.remove(name)


def line(call: Callable[[], Any], kind: type[Exception] = dqrun.DqrunError) -> str:
    with pytest.raises(kind) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def config(*words: str) -> RunConfig:
    (found,) = load_configs([*SMALL, *words])
    return found


def told(method: Any, own: Any = NaiveConfig) -> str:
    register.method("wrong", config=own)(method)
    return line(lambda: require_right_kinds(config("method=wrong")), ConfigError)


def no_method(config: Any, layers: int) -> None: ...


def staged(*stages: Any) -> type[Method]:
    class Wrong(Naive):
        def stages(self, train: Any) -> Any:
            return list(stages)

    return Wrong


class Unbound(Naive):
    def penalty(self) -> None: ...  # type: ignore[override]


class Raising(Naive):
    def stages(self, train: Any) -> Any:
        return {}["stages"]


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (no_method, "method=wrong must be a subclass of dqrun.methods.base.Method, got <function"),
        (dict, "method=wrong must be a subclass of dqrun.methods.base.Method"),
        (staged(), "method=wrong: hook stages must give a list of at least one Stage, got []"),
        (staged(3), "method=wrong: hook stages must give a list of at least one Stage, got [3]"),
        (staged(Stage("a", -1, Phase.QUANTIZE)), "method=wrong: hook stages: epochs of the method's stage 'a' must be"),
        (staged(Stage("a", 7, Phase.QUANTIZE)), "hook stages must give stages of train.epochs=2 epochs in all, unless"),
        (staged(Stage("a", 2, "x")), "method=wrong: hook stages, stage 'a', must have whole epochs and a Phase"),  # type: ignore[arg-type]
        (Unbound, "method=wrong: hook penalty must take (self, model), got (self)"),
        (Raising, "method=wrong: hook stages"),
    ],
)
def test_a_method_of_the_wrong_kind_is_told_before_its_trials(method: Any, message: str) -> None:
    assert message in told(method)


def test_right_methods_and_built_in_ones_pass() -> None:
    register.method("right", config=NaiveConfig)(staged(Stage("a", 1, Phase.BYPASS), Stage("b", 1, Phase.QUANTIZE)))
    require_right_kinds(config("method=right"))
    require_right_kinds(config("method=dq"))


def test_rules_that_fail_are_told_with_the_part() -> None:
    @dataclass
    class Own:
        scale: int = 1

        def validate(self) -> None:
            raise KeyError("a")

    register.method("wrong", config=Own)(Naive)
    assert line(lambda: config("method=wrong")) == "method=wrong: validate of its config failed: KeyError: 'a'"


class Hooked(Naive):
    """Gives `result` where `hook` is asked for."""

    hook, result = "", None

    def quantizer(self, point: Point, spec: QuantSpec) -> Any:
        return self.result if self.hook == "quantizer" else super().quantizer(point, spec)

    def before_batch(self, batch: Batch, streams: Any) -> Any:
        return self.result if self.hook == "before_batch" else batch

    def penalty(self, model: Any) -> Any:
        return self.result if self.hook == "penalty" else None


@pytest.mark.parametrize(
    ("hook", "result", "message"),
    [
        ("quantizer", "x", "hook quantizer of Wrong must give a dqrun.quant.Quantizer or None at layers.0."),
        ("before_batch", None, "hook before_batch of Wrong must give a Batch, got None"),
        ("penalty", 0.5, "hook penalty of Wrong must give one number as a tensor, 0-d, or None, got 0.5"),
        ("penalty", torch.ones(2), "hook penalty of Wrong must give one number as a tensor, 0-d, or None, got [2]"),
    ],
)
def test_what_hooks_give_is_checked(tmp_path: Path, hook: str, result: Any, message: str) -> None:
    register.method("wrong", config=NaiveConfig)(type("Wrong", (Hooked,), {"hook": hook, "result": result}))
    said = line(lambda: dqrun.run("method=wrong", *SMALL, results=tmp_path, progress=False))
    assert said.startswith(message)


def test_a_quantizer_of_the_wrong_kind(tmp_path: Path) -> None:
    register.quantizer("wrong")(lambda point, spec: 3)
    said = line(lambda: dqrun.run("quant.quantizer=wrong", *SMALL, results=tmp_path, progress=False))
    assert "quant.quantizer=wrong must give a dqrun.quant.Quantizer or None at" in said


def test_a_layer_of_the_wrong_kind() -> None:
    register.layer("wrong")(torch.nn.Linear)
    assert "model=wrong must be a subclass of dqrun.nn.layer.Layer" in line(
        lambda: require_right_kinds(config("model=wrong"))
    )


class Half:
    higher_is_better = True

    def update(self, logits: Tensor, y: Tensor) -> None: ...


def fails(logits: Tensor, y: Tensor) -> float:
    return [1.0][5]


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (lambda logits, y: None, "dataset.metric=wrong must give one number, got None"),
        (lambda logits, y: "0.5", "dataset.metric=wrong must give one number, got 0.5"),
        (lambda logits, y: 1j, "dataset.metric=wrong must give one number, got 1j"),
        (lambda logits, y: torch.ones(3), "dataset.metric=wrong must give one number, got a tensor [3]"),
        (fails, "dataset.metric=wrong must give one number, it raised IndexError: list index out of range"),
    ],
)
def test_a_metric_gives_one_number(metric: Any, message: str) -> None:
    register.metric("wrong", higher_is_better=True)(metric)
    made = make_metric("wrong")
    made.update(torch.zeros(2, 2), torch.zeros(2, dtype=torch.long))
    assert line(lambda: value_of("wrong", made), TrialFailed) == message


def test_metrics_that_are_wrong_only_when_they_run(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import dqrun.register\n"
        "@dqrun.register.metric('undefined', higher_is_better=True)\n"
        "def undefined(logits, y):\n    return float('nan')\n"
        "@dqrun.register.metric('broken', higher_is_better=True)\ndef broken(logits, y):\n    return {}['a']\n"
    )
    words = (f"plugins=[{tmp_path / 'mine.py'}]", "dataset.metric=undefined,broken", "model=gcn", "quant=fp32", *SMALL)
    assert list(dqrun.run(*words, results=tmp_path / "r", progress=False)["reason"]) == [
        "validation metric is not finite in epoch 1, got nan",
        "dataset.metric=broken must give one number, it raised KeyError: 'a' in broken (mine.py, line 7)",
    ]


def test_a_metric_class_has_update_and_compute() -> None:
    register.metric("wrong")(Half)
    assert "dataset.metric=wrong must be a function, or a class with update and compute" in line(
        lambda: require_right_kinds(config("dataset.metric=wrong"))
    )


def test_a_mistake_in_a_hook_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import dqrun.register\nfrom dqrun.methods.naive import Naive, NaiveConfig\n"
        "@dqrun.register.method('wrong', config=NaiveConfig)\nclass Wrong(Naive):\n"
        "    def penalty(self, model):\n        return {}['a']\n"
    )
    words = (f"plugins=[{tmp_path / 'mine.py'}]", "method=wrong", *SMALL)
    (reason,) = dqrun.run(*words, results=tmp_path / "r", progress=False)["reason"]
    assert reason == "KeyError in penalty (mine.py, line 6): 'a'"


def graph(y: Any, nodes: int = 3) -> Data:
    edges = torch.tensor([[0, 1, 2], [1, 2, 0]])
    return Data(x=torch.ones(nodes, 2), edge_index=edges, y=y, num_nodes=nodes)


def load(given: Any, task: str = "graph_classification") -> Any:
    register.dataset("own")(lambda dataset, data: given() if isinstance(given, FunctionType) else given)
    (made,) = load_configs(["dataset=own", f"dataset.task={task}", "model=gcn"])
    return load_dataset(made.dataset, DataConfig())


def test_labels_that_are_text_are_classes_by_their_names() -> None:
    dataset = load([graph("cat"), graph("ant"), graph("cat")])
    assert dataset.y.tolist() == [1, 0, 1] and dataset.class_names == ("ant", "cat") and dataset.num_classes == 2
    register.dataset.remove("own")
    nodes = load(graph(["b", "a", "b"]), "node_classification")
    assert nodes.y.tolist() == [1, 0, 1] and nodes.class_names == ("a", "b")


def test_a_generator_is_a_list() -> None:
    assert load(lambda: (graph(i % 2) for i in range(4))).num_graphs == 4


def breaks() -> Any:
    raise KeyError("a")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "got NoneType"),
        ({"a": 1}, "got dict"),
        ("graphs", "got str"),
        (3, "got int"),
        ([], "dataset=own: holds no graphs"),
        (([], [], []), "dataset=own: holds no graphs"),
        ([graph(0), None], "got NoneType as graph 1"),
        ([graph("a"), graph(1)], "must give y as numbers or as text, not both, got 1"),
        ([graph("a"), graph("a")], "labels must have at least 2 classes, got only 'a'"),
        ([graph({"a": 1}), graph({"a": 2})], "y must be numbers, got dict"),
        ([graph(None), graph(None)], "must give y in every graph"),
        ([Data(edge_index=torch.ones(2, 2), y=1, num_nodes=2)], "edge_index as integers [2, E], got float32 [2, 2]"),
        (breaks, "dataset=own can't be loaded: KeyError: 'a'"),
    ],
)
def test_what_is_no_dataset_is_told_in_one_line(given: Any, message: str) -> None:
    said = line(lambda: load(given), DataError)
    assert "dataset=own" in said and message in said


def test_text_for_a_regression_is_refused() -> None:
    said = line(lambda: load([graph("a"), graph("b")], "graph_regression"), DataError)
    assert "dataset.task=graph_regression wants numbers" in said
