"""`QuantPlan`: which sites are quantised, and how; `apply` puts the quantisers in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import nn

from dqrun.config import MethodConfig, PlanConfig, QuantConfig, SiteRule
from dqrun.errors import ConfigError
from dqrun.quant.granularity import TENSOR, Granularity
from dqrun.quant.learned_scale import LearnedScale
from dqrun.quant.observer import RangeObserver
from dqrun.quant.quantizer import Quantizer
from dqrun.quant.rounding import UniformRounding
from dqrun.quant.scales import Phase, ScaleProvider
from dqrun.quant.site import Site, named_sites
from dqrun.quant.spec import QuantSpec


@cache
def _pattern(glob: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*\.|\*\*|\*|\?)", glob)
    special = {"**.": r"(?:.*\.)?", "**": ".*", "*": r"[^.]*", "?": r"[^.]"}
    return re.compile("".join(special.get(part, re.escape(part)) for part in parts) + r"(?:\..*)?")


def matches(name: str, glob: str) -> bool:
    """Whether a glob names a site or a module that holds it: `*` stays within one dotted part, `**` spans parts.

    `head.0.input` is named by `**.input`, `head.*.*`, and, with its module, by `head.0`, `head.*`, `head`.
    """
    return _pattern(glob).fullmatch(name) is not None


@dataclass(frozen=True)
class QuantPlan:
    """Bit-widths, method and site rules of one run, resolved per site."""

    quant: QuantConfig
    method: MethodConfig
    plan: PlanConfig

    def rule(self, name: str, fp32_by_default: bool = False) -> SiteRule:
        """What the rules together say of a site: later matches win, field by field; `plan.fp32` wins over all.

        `fp32_by_default`: the site is exact where no rule says otherwise.
        """
        merged = SiteRule(fp32=fp32_by_default)
        for glob, rule in self.plan.rules.items():
            if matches(name, glob):
                said = {key: value for key, value in vars(rule).items() if value is not None}
                merged = replace(merged, **said)
        if any(matches(name, glob) for glob in self.plan.fp32):
            merged = replace(merged, fp32=True)
        return merged

    def quantizer(self, name: str, site: Site, generator: torch.Generator | None) -> Quantizer | None:
        """The quantiser of a site, or None where the plan leaves it exact."""
        rule, quant, method = self.rule(name, site.fp32_by_default), self.quant, self.method
        bits = quant.weight_bits if site.is_weight else quant.activation_bits
        if rule.fp32 or bits is None:
            return None
        spec, observer = self.spec(rule, site, bits), method.weight_observer if site.is_weight else method.observer
        scales: ScaleProvider = (
            found := RangeObserver(
                spec,
                site.scale_shape(spec.granularity),
                tail=observer.tail if rule.tail is None else min(observer.tail, rule.tail),
                update=observer.update,
                momentum=observer.momentum,
                percentile=observer.percentile,
            )
        )
        if method.learned_scale:
            scales = LearnedScale(found, from_mean=site.is_weight)
        return Quantizer(
            scales,
            UniformRounding(spec, method.estimator, method.noise_rate, generator),
            protects=not any(matches(name, glob) for glob in method.protection.rounded_sites),
            name=name,
        )

    def spec(self, rule: SiteRule, site: Site, bits: int) -> QuantSpec:
        """The codes of a site: `bits` of `quant`, or what its rule says."""
        symmetric = self.quant.symmetric_weights if site.is_weight else self.quant.symmetric_activations
        symmetric = symmetric if rule.symmetric is None else rule.symmetric
        return QuantSpec(
            bits=rule.bits or bits,
            signed=not site.nonnegative,
            symmetric=symmetric,
            narrow=symmetric and not site.nonnegative,
            granularity=Granularity(self.quant.weight_granularity) if site.is_weight else TENSOR,
            headroom=rule.headroom or 0.0,
            collapsed=self.method.collapsed_range,
        )

    def apply(self, model: nn.Module, generator: torch.Generator | None = None) -> list[str]:
        """Puts a quantiser into each site that is not exact and returns their names, in the model's order.

        Raises ConfigError when a glob of `plan.fp32` fits no site: a typing mistake would otherwise quantise.
        """
        sites = dict(named_sites(model))
        for glob in self.plan.fp32:
            if not any(matches(name, glob) for name in sites):
                raise ConfigError.rule("plan.fp32", f"match a site ({', '.join(sites)})", glob)
        for name, site in sites.items():
            site.quantizer = self.quantizer(name, site, generator)
        return [name for name, site in sites.items() if not site.is_fp32]


def quantizers(model: nn.Module) -> Iterable[Quantizer]:
    """All quantisers of a model."""
    return (module for module in model.modules() if isinstance(module, Quantizer))


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """A network's own parameters, in its order, and those of its quantisers, such as learned scales."""
    learned = [parameter for quantizer in quantizers(model) for parameter in quantizer.parameters()]
    known = {id(parameter) for parameter in learned}
    return [parameter for parameter in model.parameters() if id(parameter) not in known], learned


def set_phase(model: nn.Module, phase: Phase) -> None:
    """Tells all quantisers of a model what to do."""
    for quantizer in quantizers(model):
        quantizer.phase = phase
