"""`method=a2q`: a scale and a width for each node, both learned (A2Q: Zhu et al., ICLR 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dqrun.config.rules import doc, require
from dqrun.methods.row_widths import LearnedRowWidths, RowWidthConfig

if TYPE_CHECKING:
    from dqrun.quant import Point, QuantSpec, ScaleProvider


@dataclass
class A2QConfig(RowWidthConfig):
    """A scale and a width for each node, learned by the error of the node's own row under a penalty on memory (A2Q: Zhu
    et al., ICLR 2023). Where graphs differ, rows take the nearest of a table of pairs."""

    scale_lr: float = doc("learning rate of the logarithm of scales, > 0", 0.05)
    pairs: int = doc("pairs of scale and width of a point where graphs differ, >= 1", 1000)

    def validate(self) -> None:
        super().validate()
        require(self.scale_lr > 0, "method.scale_lr", "be > 0", self.scale_lr)
        require(self.pairs >= 1, "method.pairs", "be >= 1", self.pairs)


class A2Q(LearnedRowWidths):
    """Rows begin with the width of `quant`; scales of weights and of numbers per edge are learned (LSQ)."""

    config: A2QConfig

    @property
    def rates(self) -> dict[str, float]:
        return {**super().rates, "log_scale": self.config.scale_lr}

    def scales(self, point: Point, spec: QuantSpec) -> ScaleProvider:
        from dqrun.quant.row_tables import NearestTable, NodeTable

        if not self.has_widths(point, spec):
            return super().scales(point, spec)
        if point.num_nodes and point.has_node_rows:
            return NodeTable(spec, point.num_nodes)
        return NearestTable(spec, self.config.pairs)
