"""`Values`: a tensor as the input of a quantiser."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Generic, cast

import torch
from torch import Tensor

from dqrun import kernels
from dqrun.kernels import R
from dqrun.quant.spec import QuantSpec, Scales


@dataclass(frozen=True)
class Values(Generic[R]):
    """float32 x [N, ...]; `protected`: bool [N], rows that stay in FP32 and are not observed.

    `multiplicity`: int64 [N], how often each row counts for the range (a node tensor that stands for its gathered
    copies counts out-degree times). `relu`: a ReLU follows, in the same pass.
    """

    x: R
    protected: Tensor | None = None
    multiplicity: Tensor | None = None
    relu: bool = False

    @property
    def count(self) -> int:
        return self.x.numel()

    @property
    def observed(self) -> int:
        if self.protected is None and self.multiplicity is None:
            return self.count
        rows = torch.ones(self.x.size(0), dtype=torch.int64) if self.multiplicity is None else self.multiplicity
        if self.protected is not None:
            rows = rows.to(self.protected.device).masked_fill(self.protected, 0)
        return int(rows.sum()) * (self.count // max(1, self.x.size(0)))

    @property
    def if_empty(self) -> str:
        gathered = self.multiplicity is not None
        if self.protected is None:
            return "no edge carried one" if gathered else "its tensor was empty"
        return "no edge left an unprotected node" if gathered else "every row was protected"

    def range(
        self, shape: tuple[int, ...], tail: float, seen: kernels.Range | None, percentile: str
    ) -> tuple[Tensor, Tensor]:
        if not shape:
            return kernels.tail_range(self.x, tail, self.multiplicity, self.protected, seen, percentile)
        assert isinstance(self.x, Tensor) and self.multiplicity is None and self.protected is None
        return kernels.channel_range(self.x, shape, tail, seen, percentile)

    def fake_quantize(self, scales: Scales, spec: QuantSpec, estimator: str, noise: kernels.Noise | None) -> R:
        scale, zero_point, offset = scales
        how = spec.qmin, spec.qmax, self.protected, estimator, self.relu, noise
        if scale.dim():
            return kernels.fake_quantize_broadcast(self.x, scale, zero_point, *how, offset)
        assert offset is None
        return kernels.fake_quantize(self.x, scale, zero_point, *how)

    def fake_quantize_rows(self, spec: QuantSpec, estimator: str, noise: kernels.Noise | None) -> R:
        """`fake_quantize` with scales from the range of each row, in one pass."""
        size = spec.granularity.size
        return kernels.fake_quantize_rows(self.x, size, spec.grid, self.protected, estimator, self.relu, noise)

    def mapped(self, f: kernels.Elementwise, keeps_zero: bool = True) -> R:
        y = kernels.mapped(self.x, f, self.protected, keeps_zero)
        return cast(R, y.relu() if self.relu else y)

    def sample(self, most: int) -> Tensor:
        return kernels.sample(self.x, most, self.multiplicity, self.protected)

    def dense(self) -> Values[Tensor]:
        """The same with x as a dense tensor."""
        x = self.x if isinstance(self.x, Tensor) else self.x.to_dense()
        return cast("Values[Tensor]", replace(self, x=cast(R, x)))

    def group_mean(self, numbers: Tensor) -> Tensor:
        """Mean of each row of `numbers` [N, ...] (x's shape): [N, 1, ...]."""
        return numbers.mean(tuple(range(1, numbers.dim())), keepdim=True)

    def exact(self) -> R:
        return cast(R, self.x.relu()) if self.relu else self.x
