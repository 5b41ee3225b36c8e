"""`method=sgquant`: widths by component, layer and degree bucket, for a search (SGQuant: Feng et al., ICTAI 2020)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from dqrun.config.rules import doc, require
from dqrun.config.search import Dimension
from dqrun.methods.qat import Qat, QatConfig
from dqrun.methods.row_widths import require_row_ranges

if TYPE_CHECKING:
    from dqrun.config import RunConfig
    from dqrun.quant import Point, Quantizer, QuantSpec, Rounding, ScaleProvider

ATTENTION = ("**.logit", "**.coefficient", "**.edge_weight", "**.attention")
"""Sites of the attention component: what weighs edges."""
MOST_EXTRA = 3


@dataclass
class SgquantConfig(QatConfig):
    """Widths of activations by component (features, attention), layer and degree bucket (SGQuant: Feng et al., ICTAI
    2020): the component's, and what layer and bucket add to it. `dqrun tune --bits-weight` searches them."""

    settings: ClassVar[tuple[str, ...]] = (
        "feature_bits",
        "attention_bits",
        "layer_bits",
        "bucket_bits",
        *QatConfig.settings,
    )

    feature_bits: int = doc("width of the rows of nodes, 2..8", 4)
    attention_bits: int = doc("width of what weighs edges (logits, coefficients, edge weights), 2..8", 8)
    layer_bits: list[int] = doc("what layers 0, 1, ... add to the width, each -3..3; layers without a number: 0", [])
    limits: list[int] = doc("in-degrees at which the buckets 1, 2, ... begin, ascending, >= 1", [4, 8, 16])
    bucket_bits: list[int] = doc("what buckets 0, 1, ... add to the width, each -3..3; buckets without a number: 0", [])

    def validate(self) -> None:
        super().validate()
        for name in ("feature_bits", "attention_bits"):
            require(2 <= getattr(self, name) <= 8, f"method.{name}", "be in 2..8", getattr(self, name))
        for name in ("layer_bits", "bucket_bits"):
            extra = getattr(self, name)
            inside = all(-MOST_EXTRA <= bits <= MOST_EXTRA for bits in extra)
            require(inside, f"method.{name}", f"hold numbers in -{MOST_EXTRA}..{MOST_EXTRA}", list(extra))
        ascending = self.limits == sorted(set(self.limits)) and all(limit >= 1 for limit in self.limits)
        require(ascending, "method.limits", "be ascending, each >= 1", list(self.limits))
        most, known = len(self.limits) + 1, len(self.bucket_bits)
        require(known <= most, "method.bucket_bits", f"have a number for each of {most} buckets at most", known)

    def validate_in(self, run: RunConfig) -> None:
        super().validate_in(run)
        require_row_ranges(run, self.name)

    def dimensions_in(self, run: RunConfig) -> list[Dimension]:
        extra = {"layer_bits": run.model.layers, "bucket_bits": len(self.limits) + 1}
        weighs_edges = ["attention_bits"] if run.plan.name != "integer" else []
        return [
            *(_whole(name, 2, 8, getattr(self, name)) for name in ["feature_bits", *weighs_edges]),
            *(
                _whole(f"{name}.{i}", -MOST_EXTRA, MOST_EXTRA, added(getattr(self, name), i))
                for name, count in extra.items()
                for i in range(count)
            ),
            *super().dimensions_in(run),
        ]


class Sgquant(Qat):
    """The range of each row from the row itself, its width fixed by component, layer and in-degree: from 1 to 8 bits.

    SGQuant leaves weights in FP32, as `quant.weight_bits=null` does. Rows of graphs and edges have the width of
    `quant`.
    """

    config: SgquantConfig
    learns_widths: ClassVar[bool] = True

    def quantizer(self, point: Point, spec: QuantSpec) -> Quantizer | None:
        if any(point.matches(glob) for glob in ATTENTION):
            bits = self.config.attention_bits + self._of_layer(point)
            spec = replace(spec, bits=min(8, max(2, bits)))
        return super().quantizer(point, spec)

    def scales(self, point: Point, spec: QuantSpec) -> ScaleProvider:
        from dqrun.quant.row_widths import DegreeRange

        if not self._has_widths(point, spec):
            return super().scales(point, spec)
        base = self.config.feature_bits + self._of_layer(point)
        buckets = range(len(self.config.limits) + 1)
        bits = [min(8, max(1, base + added(self.config.bucket_bits, bucket))) for bucket in buckets]
        return DegreeRange(spec, self.config.limits, bits, learned=False)

    def rounding(self, point: Point, spec: QuantSpec) -> Rounding:
        from dqrun.quant.row_widths import RowWidthRounding

        if self._has_widths(point, spec):
            return RowWidthRounding(spec, self.config.estimator)
        return super().rounding(point, spec)

    def _has_widths(self, point: Point, spec: QuantSpec) -> bool:
        return spec.granularity.per_row and point.has_node_rows

    def _of_layer(self, point: Point) -> int:
        """The bits to add for the layer of a point; state I is the input of layer I."""
        found = re.match(r"(?:layers|states|norms)\.(\d+)", point.name)
        return added(self.config.layer_bits, int(found[1]) if found else 0)


def added(extra: list[int], i: int) -> int:
    """`extra[i]`, or 0 beyond the end of the list."""
    return extra[i] if i < len(extra) else 0


def _whole(name: str, low: int, high: int, default: int) -> Dimension:
    return Dimension(name, (f"method.{name}",), low, high, default, log=False, whole=True)
