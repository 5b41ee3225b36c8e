"""`QuantPlan`: which sites are quantised, and with which codes; `apply` installs a method's quantisers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import nn

from dqrun import register
from dqrun.config import PlanConfig, QuantConfig, SiteRule
from dqrun.errors import ConfigError
from dqrun.quant.granularity import TENSOR, Granularity
from dqrun.quant.point import Point, matches
from dqrun.quant.quantizer import Quantizer
from dqrun.quant.scales import Phase
from dqrun.quant.site import Site, named_sites
from dqrun.quant.spec import QuantSpec


class MakesQuantizers(Protocol):
    """The part of a method that a plan calls."""

    def quantizer(self, point: Point, spec: QuantSpec) -> Quantizer | None:
        """The quantiser of a point, or None: it stays in FP32."""


@dataclass(frozen=True)
class QuantPlan:
    """Bit-widths and site rules of one run, resolved per site."""

    quant: QuantConfig
    plan: PlanConfig

    def rule(self, name: str, fp32_by_default: bool = False) -> SiteRule:
        """The combined rules of a site: later matches win, field by field; `plan.fp32` wins over all.

        `fp32_by_default`: the site is in FP32 where no rule says otherwise.
        """
        merged = SiteRule(fp32=fp32_by_default)
        for glob, rule in self.plan.rules.items():
            if matches(name, glob):
                said = {key: value for key, value in vars(rule).items() if value is not None}
                merged = replace(merged, **said)
        if any(matches(name, glob) for glob in self.plan.fp32):
            merged = replace(merged, fp32=True)
        return merged

    def spec(self, rule: SiteRule, site: Site) -> QuantSpec | None:
        """The codes of a site, those of `quant` or of its rule; None where it stays in FP32."""
        bits = self.quant.weight_bits if site.is_weight else self.quant.activation_bits
        if rule.fp32 or bits is None:
            return None
        symmetric = self.quant.symmetric_weights if site.is_weight else self.quant.symmetric_activations
        bits, symmetric = rule.bits or bits, symmetric if rule.symmetric is None else rule.symmetric
        symmetric = symmetric or bits == 1
        return QuantSpec(
            bits=bits,
            signed=not site.nonnegative,
            symmetric=symmetric,
            narrow=symmetric and not site.nonnegative,
            headroom=rule.headroom or 0.0,
            **self._ranges(site),
        )

    def _ranges(self, site: Site) -> dict[str, Any]:
        """The granularity of a site's scales, and the position of zero on its grid, as arguments of `QuantSpec`."""
        if site.is_weight:
            kind = self.quant.weight_granularity
            groups = Granularity("channel", self.quant.group_size)
            return {"granularity": groups if kind == "group" else Granularity(kind)}
        kind, offset = self.quant.activation_granularity, self.quant.row_offset
        if site.may_be_sparse:  # sparse rows keep their zeros, and are not divided
            kind, offset = "row" if kind == "group" else kind, "inside"
        if site.scalars or kind == "tensor":
            return {"granularity": TENSOR}
        return {
            "granularity": Granularity(kind, self.quant.group_size if kind == "group" else 0),
            "offset": offset,
            "power_of_two": self.quant.row_scale == "power_of_two",
        }

    def apply(
        self,
        model: nn.Module,
        method: MakesQuantizers,
        generator: torch.Generator | None = None,
        num_nodes: int = 0,
    ) -> list[str]:
        """Puts the quantiser of `method`, or that of `quant.quantizer`, into each site that the plan quantises.

        Returns the names of the sites that have one, in the model's order. `generator`: for random draws of quantisers.
        `num_nodes`: see `Point`. Raises ConfigError if a glob of `plan.fp32` matches no site: otherwise a misspelt
        site would be quantised.
        """
        sites = dict(named_sites(model))
        for glob in self.plan.fp32:
            if not any(matches(name, glob) for name in sites):
                raise ConfigError.rule("plan.fp32", f"match a site ({', '.join(sites)})", glob)
        for name, site in sites.items():
            rule = self.rule(name, site.fp32_by_default)
            spec = self.spec(rule, site)
            site.quantizer, site.groups = None, None if spec is None else site.grouped(spec.granularity)
            if spec is not None:
                site.quantizer = self._made(_point(name, site, spec, rule, generator, num_nodes), spec, method)
        return [name for name, site in sites.items() if not site.is_fp32]

    def _made(self, point: Point, spec: QuantSpec, method: MakesQuantizers) -> Quantizer | None:
        """The quantiser that `quant.quantizer` makes for the point; if it makes none, the method's."""
        if self.quant.quantizer is not None:
            made: Quantizer | None = register.quantizer.get(self.quant.quantizer)(point, spec)
            _require_quantizer(f"quant.quantizer={self.quant.quantizer}", made, point)
            if made is not None:
                return made
        found = method.quantizer(point, spec)
        _require_quantizer(f"hook quantizer of {type(method).__name__}", found, point)
        return found


def _require_quantizer(name: str, made: object, point: Point) -> None:
    if made is not None and not isinstance(made, Quantizer):
        raise ConfigError.rule(name, f"give a dqrun.quant.Quantizer or None at {point.name}", made)


def _point(
    name: str, site: Site, spec: QuantSpec, rule: SiteRule, generator: torch.Generator | None, num_nodes: int
) -> Point:
    groups = site.grouped(spec.granularity)
    return Point(
        name,
        site.is_weight,
        scale_shape=site.scale_shape(spec.granularity),
        largest_tail=rule.tail,
        generator=generator,
        num_nodes=num_nodes,
        width=site.width,
        weight_shape=site.weight_shape if groups is None else groups.split_shape,
    )


def quantizers(model: nn.Module) -> Iterable[Quantizer]:
    """All quantisers of a model."""
    return (module for module in model.modules() if isinstance(module, Quantizer))


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """A network's own parameters, in its order, and those of its quantisers, such as learned scales."""
    learned = {
        id(each): each for quantizer in quantizers(model) for each in quantizer.parameters()
    }  # a quantiser may contain others
    return [parameter for parameter in model.parameters() if id(parameter) not in learned], list(learned.values())


def set_phase(model: nn.Module, phase: Phase) -> None:
    """Sets the phase of all quantisers of a model."""
    for quantizer in quantizers(model):
        quantizer.phase = phase
