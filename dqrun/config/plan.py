"""Which sites are quantised."""

from __future__ import annotations

from dataclasses import dataclass, field

from dqrun.config.rules import doc, require, require_name


@dataclass
class SiteRule:
    """A rule of a plan for the sites that a glob matches; null keeps the value of earlier rules."""

    fp32: bool | None = doc("true: left in FP32; false: quantised", None)
    bits: int | None = doc("width, 1..8; null: quant's", None)
    symmetric: bool | None = doc("grid with zero point 0; null: quant's", None)
    tail: float | None = doc(
        "largest percentile tail, [0, 0.5): a larger one of the method is cut to it; null: no limit", None
    )
    headroom: float | None = doc("share by which the range is widened before its grid is laid, [0, 1); null: 0", None)

    def validate(self, name: str) -> None:
        require(self.bits is None or 1 <= self.bits <= 8, f"{name}.bits", "be in 1..8 or null", self.bits)
        require(self.tail is None or 0 <= self.tail < 0.5, f"{name}.tail", "be in [0, 0.5) or null", self.tail)
        inside = self.headroom is None or 0 <= self.headroom < 1
        require(inside, f"{name}.headroom", "be in [0, 1) or null", self.headroom)


@dataclass
class PlanConfig:
    """Which sites are quantised (`plan.*`)."""

    name: str = doc("name in tables: paper, integer, or your own")
    rules: dict[str, SiteRule] = field(
        default_factory=dict,
        metadata={
            "doc": "glob -> rule, in order, the last match wins; sites without a match are quantised. A glob names "
            "sites, or parts of the network and so all their sites; * stays within a dotted part, ** spans parts"
        },
    )
    fp32: list[str] = doc(
        "globs of further sites, or parts of the network, to leave in FP32, for the shell: plan.fp32=['head.*']", []
    )

    def validate(self) -> None:
        require_name("plan.name", self.name)
        for glob, rule in self.rules.items():
            rule.validate(f"plan.rules.{glob}")
