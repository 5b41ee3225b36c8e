"""`method=degree_bits`: the width of a node's row as a learned function of its in-degree (after MEGA, HPCA 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dqrun.config.rules import doc, require
from dqrun.methods.row_widths import LearnedRowWidths, RowWidthConfig

if TYPE_CHECKING:
    from dqrun.quant import Point, QuantSpec, ScaleProvider


@dataclass
class DegreeBitsConfig(RowWidthConfig):
    """The width of a node's row as a learned function of its in-degree, its range from the row itself (after MEGA: Zhu
    et al., HPCA 2024). Nodes of unseen graphs have degrees as well: nothing is looked up by node."""

    largest_degree: int = doc("in-degrees from this one on share a width, >= 1", 64)

    def validate(self) -> None:
        super().validate()
        require(self.largest_degree >= 1, "method.largest_degree", "be >= 1", self.largest_degree)


class DegreeBits(LearnedRowWidths):
    """Each point has a table b(min(in-degree, largest_degree)) that begins with the width of `quant`.

    Rows of graphs and edges, which have no degree, keep that width.
    """

    config: DegreeBitsConfig

    def has_widths(self, point: Point, spec: QuantSpec) -> bool:
        return spec.granularity.per_row and point.has_node_rows

    def scales(self, point: Point, spec: QuantSpec) -> ScaleProvider:
        from dqrun.quant.row_widths import DegreeRange

        if not self.has_widths(point, spec):
            return super().scales(point, spec)
        degrees = range(1, self.config.largest_degree + 1)
        return DegreeRange(spec, degrees, [float(spec.bits)] * (len(degrees) + 1), learned=True)
