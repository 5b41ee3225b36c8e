"""`method=naive`, `method=lsq`: quantisation-aware training with nothing added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dqrun.methods.qat import Qat, QatConfig


@dataclass
class NaiveConfig(QatConfig):
    """Quantisation-aware training: straight-through gradients, moving-average ranges (Jacob et al., CVPR 2018). Its
    preset `lsq` learns the scales (Esser et al., ICLR 2020)."""

    shares_exactly: ClassVar[bool] = True
    has_one_bit: ClassVar[bool] = True


class Naive(Qat):
    """`Qat` itself. With `learned_scale` it is LSQ, whose scales are trained by their logarithm (`LearnedScale`)."""
