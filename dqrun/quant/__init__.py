"""Quantisers, sites and plans. This package does not depend on graphs, data or training.

A quantiser combines codes (`QuantSpec`), a provider of scales (`ScaleProvider`: observed, learned, ...) and a way of
rounding (`Rounding`). Scales broadcast: one for a tensor, or one for each part that a `Granularity` names.
"""

from dqrun.quant.granularity import CHANNEL, ROW, TENSOR, Granularity
from dqrun.quant.learned_scale import LearnedScale
from dqrun.quant.observer import RangeObserver
from dqrun.quant.plan import QuantPlan
from dqrun.quant.point import Point
from dqrun.quant.quantizer import Quantizer
from dqrun.quant.rounding import Rounding, UniformRounding
from dqrun.quant.row_range import LearnedRowFactor, RowRange
from dqrun.quant.scales import Phase, Quantizable, ScaleProvider
from dqrun.quant.site import Site, Sites, named_sites
from dqrun.quant.spec import QuantSpec, Scales
from dqrun.quant.values import Values

__all__ = [
    "CHANNEL",
    "ROW",
    "TENSOR",
    "Granularity",
    "LearnedRowFactor",
    "LearnedScale",
    "Phase",
    "Point",
    "QuantPlan",
    "QuantSpec",
    "Quantizable",
    "Quantizer",
    "RangeObserver",
    "Rounding",
    "RowRange",
    "ScaleProvider",
    "Scales",
    "Site",
    "Sites",
    "UniformRounding",
    "Values",
    "named_sites",
]
