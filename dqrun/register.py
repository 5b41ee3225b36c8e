"""Names of methods, layers, models, datasets, metrics and quantisers, and the decorators that add to them.

```python
@dqrun.register.model("sage", config=SageConfig)
def sage(config, in_channels, out_channels): ...
```

Built-in entries are text, `"module:attribute"`: their names are known without an import. This module imports neither
torch nor Hydra.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any, TypeVar

from dqrun.errors import ConfigError, suggestion

Thing = TypeVar("Thing")
NAME_RULE = "be a letter, then letters, digits and _, at most 60 in all"
_NAME = re.compile(r"[A-Za-z]\w{0,59}", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Entry:
    """One registered name. `value`, `config`: objects, or `"module:attribute"`, which is imported at its first use."""

    value: Any
    config: Any = None
    module: str = ""
    """Name of the module that registered it; empty: dqrun."""
    has_mlp: bool = False
    """For a layer: whether it contains an MLP, to which `model.mlp_norm` adds a batch norm."""
    unsupported: str = "error"
    """For a model: what happens to its modules that can't be quantised, see `dqrun.quantize`."""


class Registry:
    """The names of one kind of part, e.g. the methods. `field` is the configuration field that chooses one of them."""

    def __init__(self, kind: str, field: str, built_in: Mapping[str, Entry]) -> None:
        self.kind, self.field = kind, field
        self._entries = dict(built_in)
        self.beside: tuple[Registry, ...] = ()
        """Registries of the same configuration field: a name may be in one of them only."""

    def __call__(self, name: str, *, config: type | None = None) -> Callable[[Thing], Thing]:
        """A decorator that registers a class or function under `name`.

        `config`: a dataclass with the fields that the user may set, each with a default or a `doc(...)`; the registered
        object gets an instance of it. Raises ConfigError for an invalid name, for one that another module has
        registered, for a `config` that is no dataclass, and for an object that can't be called.
        """
        module = _caller()
        self._require_new(name, module)
        if config is not None and not (isinstance(config, type) and dataclasses.is_dataclass(config)):
            raise ConfigError.rule(f"register.{self.kind}({name!r}, config=...)", "be a dataclass", config)

        def register(thing: Thing) -> Thing:
            if not callable(thing):
                raise ConfigError.rule(f"register.{self.kind}({name!r})", "decorate a class or a function", thing)
            self._entries[name] = Entry(thing, config, module)
            return thing

        return register

    def get(self, name: str) -> Any:
        """The object registered under `name`; a built-in one is imported by this call.

        Raises ConfigError with the field, the known names and the nearest one for an unknown name.
        """
        return _resolved(self.entry(name).value)

    def config(self, name: str) -> type | None:
        """The configuration dataclass of `name`, or None without one. Raises as `get` does."""
        found: type | None = _resolved(self.entry(name).config)
        return found

    def entry(self, name: str) -> Entry:
        """The entry itself; imports nothing. Raises as `get` does."""
        self.require(name)
        return self._entries[name]

    def require(self, name: str, others: Iterable[str] = ()) -> None:
        """Raises ConfigError, as `get` does, for an unknown name; imports nothing. `others`: more names to suggest."""
        if name not in self._entries:
            known = sorted({*self._entries, *others})
            rule = ConfigError.rule(self.field, f"be one of {', '.join(known)}", name)
            raise ConfigError(f"{rule}{suggestion(name, known)}")

    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(sorted(self._entries))

    def added(self) -> tuple[str, ...]:
        """The names that are not built in, sorted."""
        return tuple(name for name in self.names() if self._entries[name].module)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def remove(self, name: str) -> None:
        """Removes a name that is not built in; for tests and notebooks. Raises as `get` does."""
        if self.entry(name).module:
            del self._entries[name]

    def _require_new(self, name: str, module: str) -> None:
        """Raises ConfigError for a bad or taken name. A module may register its own names again, as notebooks do."""
        field = f"register.{self.kind}(...)"
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigError.rule(field, NAME_RULE, name)
        known = self._entries.get(name)
        if known is not None and known.module != module:
            raise ConfigError.rule(field, f"give a new name, {_shown(known.module)} has this one", name)
        for other in self.beside:
            if name in other:
                raise ConfigError.rule(field, f"give a new name, there is a {other.kind} of this name", name)


class MetricRegistry(Registry):
    """The metrics; each also has a direction."""

    def __call__(
        self, name: str, *, config: type | None = None, higher_is_better: bool | None = None
    ) -> Callable[[Thing], Thing]:
        """As `Registry`; `higher_is_better`: whether larger values are better; None: the metric's attribute of that
        name decides."""
        add = super().__call__(name, config=config)

        def register(thing: Thing) -> Thing:
            if higher_is_better is not None:
                thing.higher_is_better = higher_is_better  # type: ignore[attr-defined]
            return add(thing)

        return register


class ModelRegistry(Registry):
    """Whole networks; each also states what happens to its modules that can't be quantised."""

    def __call__(
        self, name: str, *, config: type | None = None, unsupported: str = "error"
    ) -> Callable[[Thing], Thing]:
        """As `Registry`; `unsupported`: in a quantised run, "error" refuses a module with parameters that can't be
        quantised, "fp32" leaves it in FP32, as in `dqrun.quantize`."""
        add = super().__call__(name, config=config)
        require_unsupported(f"register.{self.kind}({name!r}, unsupported=...)", unsupported)

        def register(thing: Thing) -> Thing:
            made = add(thing)
            self._entries[name] = dataclasses.replace(self._entries[name], unsupported=unsupported)
            return made

        return register


def require_unsupported(field: str, value: str) -> None:
    """Raises ConfigError unless `value`, the treatment of modules that can't be quantised, is "error" or "fp32"."""
    if value not in ("error", "fp32"):
        raise ConfigError.rule(field, "be error or fp32", value)


def _caller() -> str:
    """Name of the first module on the call stack other than this one; "" for a module of dqrun."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__") == __name__:
        frame = frame.f_back
    name = "__main__" if frame is None else str(frame.f_globals.get("__name__", "__main__"))
    return "" if name.startswith("dqrun.") else name


def _shown(module: str) -> str:
    """The name of a module for errors: the file of a plug-in (its module has a generated name), else its name."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return str(file) if file and module.startswith("dqrun_plugin_") else module or "dqrun"


def _resolved(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    module, _, attribute = value.partition(":")
    return getattr(import_module(module), attribute)


def _lazy(**places: str) -> dict[str, Entry]:
    """Built-in entries from `name="module:attribute"`."""
    return {name: Entry(place) for name, place in places.items()}


method = Registry(
    "method",
    "method.kind",
    {
        "a2q": Entry("dqrun.methods.a2q:A2Q", "dqrun.methods.a2q:A2QConfig"),
        "binary": Entry("dqrun.methods.binary:Binary", "dqrun.methods.binary_config:BinaryConfig"),
        "degree_bits": Entry("dqrun.methods.degree_bits:DegreeBits", "dqrun.methods.degree_bits:DegreeBitsConfig"),
        "dq": Entry("dqrun.methods.dq:DegreeQuant", "dqrun.methods.dq:DegreeQuantConfig"),
        "lorap": Entry("dqrun.methods.lorap:Lorap", "dqrun.methods.lorap:LorapConfig"),
        "mixed": Entry("dqrun.methods.mixed:Mixed", "dqrun.methods.mixed:MixedConfig"),
        "naive": Entry("dqrun.methods.naive:Naive", "dqrun.methods.naive:NaiveConfig"),
        "noisy": Entry("dqrun.methods.noisy:Noisy", "dqrun.methods.noisy:NoisyConfig"),
        "pact": Entry("dqrun.methods.pact:Pact", "dqrun.methods.pact:PactConfig"),
        "ptq": Entry("dqrun.methods.ptq:Ptq", "dqrun.methods.ptq:PtqConfig"),
        "qlr": Entry("dqrun.methods.qlr:Qlr", "dqrun.methods.qlr:QlrConfig"),
        "sgquant": Entry("dqrun.methods.sgquant:Sgquant", "dqrun.methods.sgquant:SgquantConfig"),
        "topgq": Entry("dqrun.methods.topgq:TopGq", "dqrun.methods.topgq:TopGqConfig"),
    },
)
"""Methods with their configurations, subclasses of `MethodConfig`."""
layer = Registry(
    "layer",
    "model.name",
    _lazy(
        gat="dqrun.nn.gat:GATLayer",
        gatv2="dqrun.nn.gatv2:GATv2Layer",
        gcn="dqrun.nn.gcn:GCNLayer",
        sage="dqrun.nn.sage:SAGELayer",
    )
    | {
        "gin": Entry("dqrun.nn.gin:GINLayer", has_mlp=True),
        "gine": Entry("dqrun.nn.gine:GINELayer", has_mlp=True),
    },
)
"""Message-passing layers, subclasses of `dqrun.nn.layer.Layer`; each is also a value of `model=`."""
model = ModelRegistry("model", "model.name", {})
"""Whole networks: a callable that gives an `nn.Module` with `forward(x, edge_index, batch, edge_weight, edge_attr)`."""
layer.beside, model.beside = (model,), (layer,)
dataset = Registry(
    "dataset",
    "dataset.source",
    _lazy(
        folder="dqrun.data.sources.folder:load",
        gnn_benchmark="dqrun.data.sources.gnn_benchmark:load",
        ogb="dqrun.data.sources.ogb:load",
        planetoid="dqrun.data.sources.planetoid:load",
        threads="dqrun.data.sources.threads:load",
        tu="dqrun.data.sources.tu:load",
        zinc="dqrun.data.sources.zinc:load",
    )
    | {"pyg": Entry("dqrun.data.sources.pyg:load", "dqrun.config.pyg:PygConfig")},
)
metric = MetricRegistry(
    "metric",
    "dataset.metric",
    _lazy(
        accuracy="dqrun.training.metrics:Accuracy",
        average_precision="dqrun.training.metrics:average_precision",
        balanced_accuracy="dqrun.training.metrics:balanced_accuracy",
        f1_macro="dqrun.training.metrics:f1_macro",
        f1_micro="dqrun.training.metrics:f1_micro",
        mae="dqrun.training.metrics:MeanAbsoluteError",
        r2="dqrun.training.metrics:r2",
        rmse="dqrun.training.metrics:rmse",
        roc_auc="dqrun.training.metrics:roc_auc",
    ),
)
"""A function of (logits, targets) or a `torchmetrics.Metric` class without arguments: see `dqrun.training.metrics`."""
quantizer = Registry("quantizer", "quant.quantizer", {})
"""A callable `(point, spec)` that returns a `dqrun.quant.Quantizer`, or None to use the method's quantiser."""

KINDS = (method, layer, model, dataset, metric, quantizer)
