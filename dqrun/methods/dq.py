"""`method=dq`: Degree-Quant (Tailor et al., ICLR 2021)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from dqrun.config.method import MethodConfig
from dqrun.config.rules import doc, require
from dqrun.config.search import Dimension, around
from dqrun.methods.qat import Qat, QatConfig

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from dqrun.graphs import Batch, Graph
    from dqrun.quant import Point
    from dqrun.training.seeding import Streams


@dataclass
class ProtectionConfig:
    """Degree-Quant's stochastic protection (`method.protection.*`)."""

    enabled: bool = doc("draw protected nodes in training", True)
    p_min: float = doc("probability of protection of the node with the lowest in-degree, [0, 1]", 0.0)
    p_max: float = doc("probability of protection of the node with the highest in-degree, [p_min, 1]", 0.1)
    per_layer: bool = doc("draw a mask for each layer (else one mask for the whole forward pass)", False)
    rounded_sites: list[str] = doc(
        "globs, as in plan.rules, of sites that quantise protected rows all the same, e.g. ['**.mlp.**']", []
    )

    @property
    def draws(self) -> bool:
        """Whether any node can be protected."""
        return self.enabled and self.p_max > 0

    def validate(self) -> None:
        name = "method.protection"
        for part in ("p_min", "p_max"):
            require(0 <= getattr(self, part) <= 1, f"{name}.{part}", "be in [0, 1]", getattr(self, part))
        require(self.p_min <= self.p_max, f"{name}.p_min", f"be <= {name}.p_max={self.p_max}", self.p_min)


@dataclass
class DegreeQuantConfig(QatConfig):
    """Degree-Quant: quantisation-aware training that leaves random rows of nodes in FP32, mostly those of high
    in-degree (Tailor et al., ICLR 2021)."""

    shares_exactly: ClassVar[bool] = True
    has_one_bit: ClassVar[bool] = True
    settings: ClassVar[tuple[str, ...]] = ("p_max", "p_min", *QatConfig.settings)

    protection: ProtectionConfig = field(
        default_factory=ProtectionConfig, metadata={"doc": "stochastic protection of high in-degree nodes"}
    )

    def validate(self) -> None:
        super().validate()
        self.protection.validate()

    def effective(self) -> MethodConfig:
        config = super().effective()
        assert isinstance(config, DegreeQuantConfig)
        if config.protection.draws:
            return config
        off = ProtectionConfig(enabled=False, p_min=0.0, p_max=0.0)
        return replace(config, protection=off)

    def columns(self) -> dict[str, Any]:
        draws = self.protection.draws
        ends = {name: getattr(self.protection, name) if draws else None for name in ("p_min", "p_max")}
        return {**super().columns(), **ends}

    def dimensions(self) -> list[Dimension]:
        if not self.protection.enabled:
            return super().dimensions()
        p_min, p_max = self.protection.p_min, self.protection.p_max
        lowest, highest = "method.protection.p_min", "method.protection.p_max"
        share = p_min / p_max if p_max else 0.0
        return [
            around("p_max", (highest,), 0.02, 0.5, p_max, log=False),
            Dimension("p_min", (lowest,), 0.0, 1.0, share, log=False, share_of=highest),
            *super().dimensions(),
        ]


class DegreeQuant(Qat):
    """In each training step random nodes are protected: their rows stay in FP32 at every activation (section 4).

    p(node) = p_min + (p_max - p_min) * F(in-degree), F the empirical distribution of in-degrees in the node's own
    graph. One mask serves all layers (the released code) or, with `per_layer`, each layer has its own (the paper).
    """

    config: DegreeQuantConfig

    @property
    def num_masks(self) -> int:
        """Masks of a forward pass."""
        return self.layers if self.config.protection.per_layer else 1

    def protects(self, point: Point) -> bool:
        return not any(point.matches(glob) for glob in self.config.protection.rounded_sites)

    def before_batch(self, batch: Batch, streams: Streams) -> Batch:
        if not self.config.protection.draws:
            return batch
        return replace(batch, graph=self.protect(batch.graph, streams.protection))

    def probability(self, degree_rank: Tensor) -> Tensor:
        """float32 [N] in [p_min, p_max] from F(in-degree), float32 [N]."""
        protection = self.config.protection
        return protection.p_min + (protection.p_max - protection.p_min) * degree_rank

    def protect(self, graph: Graph, generator: torch.Generator) -> Graph:
        """The graph with fresh masks, bool [num_masks, N]; `generator` lives on the graph's device."""
        import torch

        from dqrun.kernels import place_of

        probability, (first, total) = self.probability(graph.degree_rank), place_of(graph.num_nodes)
        drawn = torch.rand((self.num_masks, total), generator=generator, device=probability.device)
        return graph.with_protection_masks(drawn[:, first : first + graph.num_nodes] < probability)
