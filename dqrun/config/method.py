"""Fields of all methods: `MethodConfig`, of which each method's own configuration is a subclass."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from dqrun import register
from dqrun.config.rules import doc, require, require_name, require_one_of
from dqrun.config.search import Dimension, around

if TYPE_CHECKING:
    from dqrun.config.run import RunConfig

ESTIMATORS = ("ste", "clipped", "clipped_ends")
ONE_BIT_ESTIMATORS = ("ste", "clipped")
OBSERVER_UPDATES = ("running_minmax", "ema", "last_batch")
PERCENTILES = ("symmetric", "kthvalue")
COLLAPSED_RANGES = ("zero", "unit")
OBSERVERS = ("observer", "weight_observer")


@dataclass
class ObserverConfig:
    """How a range is tracked (`method.observer.*`, `method.weight_observer.*`)."""

    tail: float = doc("share of the values left outside the range on each side, [0, 0.5); 0: minimum and maximum", 0.0)
    update: str = doc(
        "running_minmax (running extremes), ema (exponential moving average), last_batch (range of the last step)",
        "ema",
    )
    momentum: float = doc("update=ema: weight of the newest range, (0, 1]", 0.01)
    percentile: str = doc(
        "ends of the range among n values, by rank from the smallest, k = floor(tail n): symmetric (k + 1 and n - k), "
        "kthvalue (k and floor((1 - tail) n), both at least 1: Degree-Quant's released code)",
        "symmetric",
    )

    @property
    def label(self) -> str:
        """The name in tables, e.g. minmax-ema(0.01), percentile(0.001)-running_minmax."""
        percentile = "percentile" if self.percentile == "symmetric" else self.percentile
        extent = f"{percentile}({self.tail:g})" if self.tail else "minmax"
        return f"{extent}-{self.update}" + (f"({self.momentum:g})" if self.update == "ema" else "")

    def validate(self, name: str) -> None:
        require(0 <= self.tail < 0.5, f"{name}.tail", "be in [0, 0.5)", self.tail)
        require_one_of(f"{name}.update", self.update, OBSERVER_UPDATES)
        require(0 < self.momentum <= 1, f"{name}.momentum", "be in (0, 1]", self.momentum)
        require_one_of(f"{name}.percentile", self.percentile, PERCENTILES)


@dataclass
class MethodConfig:
    """How the network meets quantisation (`method.*`)."""

    # A subclass adds fields. What it overrides of the methods below begins with `super()`.

    has_one_bit: ClassVar[bool] = False
    """Whether the method says what values of 1 bit are: for others than binary, `Method.one_bit`."""
    estimators: ClassVar[tuple[str, ...]] = ESTIMATORS
    """The gradients of rounding that the method knows."""
    settings: ClassVar[tuple[str, ...]] = ("tail", "momentum")
    """Names of all `dimensions` that the method can have."""

    fine_tunes: ClassVar[bool] = True
    """Whether there are epochs of training after a warm start, in which `train.fine_tune` has an effect."""

    shares_exactly: ClassVar[bool] = False
    """Whether processes that each have a part of every batch train, but for rounding, what one process trains: nothing
    but ranges, learned scales and draws by position depends on the batch as a whole. A class says it for itself: those
    that inherit from it may do anything else. Other methods are refused for several processes."""

    kind: str = doc("the registered method that runs; the chosen option sets it")
    name: str = doc("name in tables, of the method or of a preset of its settings")
    estimator: str = doc(
        "gradient of rounding: ste (identity), clipped (zero outside the grid), clipped_ends (zero at end codes too)",
        "ste",
    )
    observer: ObserverConfig = field(default_factory=ObserverConfig, metadata={"doc": "ranges of activations"})
    weight_observer: ObserverConfig = field(default_factory=ObserverConfig, metadata={"doc": "ranges of weights"})
    collapsed_range: str = doc(
        "grid of a range that holds zero alone: zero (all values become 0), unit (scale 1 and zero point 0: "
        "Degree-Quant's released code)",
        "zero",
    )

    def validate(self) -> None:
        """Raises ConfigError for the first field that breaks a rule of its own."""
        if self.kind != "none":
            rule = "be left to the option of method=, whose fields it has"
            own: Any = register.method.config(self.kind) or MethodConfig
            require(isinstance(self, own) or not issubclass(own, MethodConfig), "method.kind", rule, self.kind)
        require_name("method.name", self.name)
        require_one_of("method.estimator", self.estimator, self.estimators)
        self.observer.validate("method.observer")
        self.weight_observer.validate("method.weight_observer")
        require_one_of("method.collapsed_range", self.collapsed_range, COLLAPSED_RANGES)

    def validate_in(self, run: RunConfig) -> None:
        """Raises ConfigError for the first field that does not go with the rest of a quantised run."""
        widths = run.quant.weight_bits, run.quant.activation_bits, *(rule.bits for rule in run.plan.rules.values())
        if 1 in widths:
            require(self.has_one_bit, "quant.bits", f"be >= 2 for method={self.name} (1 bit: method=binary)", 1)
            known = self.estimators if self.estimators != ESTIMATORS else ONE_BIT_ESTIMATORS
            require(self.estimator in known, "method.estimator", f"be {' or '.join(known)} at 1 bit", self.estimator)

    def effective(self) -> MethodConfig:
        """The same method without choices that have no effect: what the hash of a trial is made of."""
        return self

    def columns(self) -> dict[str, Any]:
        """The method's values for columns of `Row`."""
        return {"method": self.name, "estimator": self.estimator, "observer": self.observer.label}

    def dimensions_in(self, run: RunConfig) -> list[Dimension]:
        """`dimensions`, where some depend on the rest of a quantised run."""
        return self.dimensions()

    def dimensions(self) -> list[Dimension]:
        """Fields that `dqrun tune` may vary, with ranges around the present values."""
        tails = [name for name in OBSERVERS if getattr(self, name).tail]
        averages = [name for name in OBSERVERS if getattr(self, name).update == "ema"]
        found = []
        for name, low, high, used in (("tail", 1e-4, 0.05, tails), ("momentum", 1e-3, 0.5, averages)):
            if used:
                default = getattr(getattr(self, used[0]), name)
                found.append(around(name, tuple(f"method.{part}.{name}" for part in used), low, high, default))
        return found


def fp32_method() -> MethodConfig:
    """The method of FP32, in which nothing is quantised."""
    return MethodConfig(kind="none", name="none")
