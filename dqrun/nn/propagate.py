"""Weighted message passing through a site: the one place that applies the quantiser of messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, cast

from torch import Tensor

from dqrun import kernels
from dqrun.graphs import CSR, Graph, SparseRows, dense
from dqrun.kernels import R
from dqrun.quant import Phase, QuantSpec, Scales, Site


@dataclass(frozen=True)
class Messages(Generic[R]):
    """The messages weight[e] * x[source(e)] of a graph's edges as the input of a quantiser: see `Quantizable`.

    x: float32 [N, F] with weight [E], or [N, H, C] with weight [E, H]; weight None stands for ones. protected: bool
    [N], sources whose messages stay FP32. The result of rounding is the sum of rounded messages over the edges of each
    target. Uniform rounding makes no tensor of messages; `mapped` does.
    """

    csr: CSR
    x: R
    weight: Tensor | None
    protected: Tensor | None

    @property
    def count(self) -> int:
        return self.csr.num_edges * self.x.numel() // max(1, self.x.size(0))

    @property
    def observed(self) -> int:
        if self.protected is None:
            return self.count
        edges = int(self.csr.out_degree[~self.protected].sum())
        return edges * (self.x.numel() // max(1, self.x.size(0)))

    @property
    def if_empty(self) -> str:
        return "no edge carried one" if self.protected is None else "no edge left an unprotected node"

    def range(
        self, shape: tuple[int, ...], tail: float, seen: kernels.Range | None, percentile: str
    ) -> tuple[Tensor, Tensor]:
        assert not shape
        return kernels.message_range(self.csr, self.x, self.weight, tail, self.protected, seen, percentile)

    def fake_quantize(self, scales: Scales, spec: QuantSpec, estimator: str, noise: kernels.Noise | None) -> R:
        rounding = (scales.scale, scales.zero_point, spec.qmin, spec.qmax, self.protected, estimator, noise)
        return kernels.spmm_quantized(self.csr, self.x, self.weight, *rounding)

    def mapped(self, f: kernels.Elementwise, keeps_zero: bool = True) -> R:
        return cast(R, kernels.mapped_messages(self.csr, dense(self.x), self.weight, f, self.protected))

    def sample(self, most: int) -> Tensor:
        return kernels.sample_messages(self.csr, dense(self.x), self.weight, most, self.protected)

    def exact(self) -> R:
        return kernels.spmm(self.csr, self.x, self.weight)


def propagate(csr: CSR, h: R, weight: Tensor | None, site: Site, protected: Tensor | None) -> R:
    """Sums messages `weight[e] * h[source(e)]` over the edges of each target, each message passing `site` first.

    h: float32 [N, F] with weight [E], or [N, H, C] with weight [E, H]; weight None stands for ones. protected: bool
    [N], sources whose messages stay FP32. Quantisation noise is drawn for each message. Uniform rounding makes no
    tensor of E rows; roundings without an operator of their own do (`Messages.mapped`).

    With a scale for each row (`Granularity.per_row`) rows of h are rounded before multiplication by weights: once for
    all edges that leave a node, with the same noise for them.
    """
    quantizer = site.quantizer
    if quantizer is None or quantizer.phase is Phase.BYPASS:
        return kernels.spmm(csr, h, weight)
    if quantizer.spec.granularity.per_row or (weight is None and not quantizer.noisy):
        rounded: R = quantizer(h, protected, csr.out_degree)  # the messages of a node are equal, but for their weight
        return kernels.spmm(csr, rounded, weight)
    return quantizer.quantize(Messages(csr, h, weight, quantizer.protected_rows(protected)))


def scaled(sums: R, graph: Graph) -> R:
    """Sums over the edges of each target, float32 [N, F], times `graph.sum_scale`: estimates, in a sampled graph, of
    the sums over all edges."""
    if graph.sum_scale is None:
        return sums
    if isinstance(sums, SparseRows):
        return cast(R, sums.with_values(sums.values * graph.sum_scale[sums.where.places.row]))
    assert isinstance(sums, Tensor)
    return cast(R, sums * graph.sum_scale.unsqueeze(-1))
