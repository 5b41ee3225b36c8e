"""What a method is made of."""

from __future__ import annotations

from dataclasses import dataclass, field

from dqrun.config.rules import doc, require, require_name, require_one_of

ESTIMATORS = ("ste", "clipped", "clipped_ends")
OBSERVER_UPDATES = ("running_minmax", "ema", "last_batch")
PERCENTILES = ("symmetric", "kthvalue")
COLLAPSED_RANGES = ("zero", "unit")


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
        """The name in tables, e.g. minmax-average(0.01), percentile(0.001)-widen."""
        percentile = "percentile" if self.percentile == "symmetric" else self.percentile
        extent = f"{percentile}({self.tail:g})" if self.tail else "minmax"
        return f"{extent}-{self.update}" + (f"({self.momentum:g})" if self.update == "ema" else "")

    def validate(self, name: str) -> None:
        require(0 <= self.tail < 0.5, f"{name}.tail", "be in [0, 0.5)", self.tail)
        require_one_of(f"{name}.update", self.update, OBSERVER_UPDATES)
        require(0 < self.momentum <= 1, f"{name}.momentum", "be in (0, 1]", self.momentum)
        require_one_of(f"{name}.percentile", self.percentile, PERCENTILES)


@dataclass
class ProtectionConfig:
    """Degree-Quant's stochastic protection (`method.protection.*`)."""

    enabled: bool = doc("draw protected nodes in training", False)
    p_min: float = doc("probability of protection of the node with the lowest in-degree, [0, 1]", 0.0)
    p_max: float = doc("probability of protection of the node with the highest in-degree, [p_min, 1]", 0.0)
    per_layer: bool = doc("draw a mask for each layer (else one mask for the whole forward pass)", False)
    rounded_sites: list[str] = doc(
        "globs, as in plan.rules, of sites that quantise protected rows all the same, e.g. ['**.mlp.**']", []
    )

    def validate(self) -> None:
        for name in ("p_min", "p_max"):
            require(0 <= getattr(self, name) <= 1, f"method.protection.{name}", "be in [0, 1]", getattr(self, name))
        require(
            self.p_min <= self.p_max,
            "method.protection.p_min",
            f"be <= method.protection.p_max={self.p_max}",
            self.p_min,
        )


@dataclass
class MethodConfig:
    """How the network meets quantisation (`method.*`)."""

    name: str = doc("name in tables: naive, noisy, dq, ptq, or your own")
    estimator: str = doc(
        "gradient of rounding: ste (identity), clipped (zero outside the grid), clipped_ends (zero at end codes too)",
        "ste",
    )
    observer: ObserverConfig = field(default_factory=ObserverConfig, metadata={"doc": "ranges of activations"})
    weight_observer: ObserverConfig = field(default_factory=ObserverConfig, metadata={"doc": "ranges of weights"})
    protection: ProtectionConfig = field(
        default_factory=ProtectionConfig, metadata={"doc": "stochastic protection of high in-degree nodes"}
    )
    learned_scale: bool = doc("the scale of each grid is a parameter (LSQ), else it follows the observed range", False)
    collapsed_range: str = doc(
        "grid of a range that holds zero alone: zero (all values become 0), unit (scale 1 and zero point 0: "
        "Degree-Quant's released code)",
        "zero",
    )
    delay_epochs: int = doc(
        "epochs at the beginning in which nothing is rounded and no range observed, >= 0, < the epochs of training",
        0,
    )
    observe_epochs: int = doc(
        "method.learned_scale=true: epochs after the delay in which ranges are still observed, >= 0, < the epochs that "
        "remain",
        0,
    )
    noise_rate: float = doc("share of the elements that a training step quantises, (0, 1]; 1: all", 1.0)
    post_training: bool = doc("train in FP32, then calibrate on training data and quantise", False)

    def validate(self) -> None:
        require_name("method.name", self.name)
        require_one_of("method.estimator", self.estimator, ESTIMATORS)
        self.observer.validate("method.observer")
        self.weight_observer.validate("method.weight_observer")
        self.protection.validate()
        require_one_of("method.collapsed_range", self.collapsed_range, COLLAPSED_RANGES)
        require(self.delay_epochs >= 0, "method.delay_epochs", "be >= 0", self.delay_epochs)
        require(self.observe_epochs >= 0, "method.observe_epochs", "be >= 0", self.observe_epochs)
        require(0 < self.noise_rate <= 1, "method.noise_rate", "be in (0, 1]", self.noise_rate)
