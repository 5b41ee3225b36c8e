"""Weighted message passing through a site: the one place where messages meet their quantiser."""

from __future__ import annotations

from torch import Tensor

from dqrun import kernels
from dqrun.graphs import CSR
from dqrun.kernels import R
from dqrun.quant import Phase, Site


def propagate(csr: CSR, h: R, weight: Tensor | None, site: Site, protected: Tensor | None) -> R:
    """Sums messages `weight[e] * h[source(e)]` over the edges of each target, each message passing `site` first.

    h: float32 [N, F] with weight [E], or [N, H, C] with weight [E, H]; weight None stands for ones. protected: bool
    [N], sources whose messages stay FP32 (an edge takes the protection of its source). Quantisation noise is drawn
    for each message. No tensor of E rows is made.
    """
    quantizer = site.quantizer
    if quantizer is None or quantizer.phase is Phase.BYPASS:
        return kernels.spmm(csr, h, weight)
    if weight is None and not quantizer.noisy:  # the messages of a node are equal: rounded once, counted as they are
        rounded: R = quantizer(h, protected, csr.out_degree)
        return kernels.spmm(csr, rounded)
    protected = quantizer.protected_rows(protected)
    if quantizer.observing:
        observer = quantizer.observer
        seen = kernels.message_range(csr, h, weight, observer.tail, protected, observer.seen, observer.percentile)
        observer.update(*seen)
        quantizer.note(protected, gathered=True)
    if not quantizer.rounding:
        return kernels.spmm(csr, h, weight)
    scale, zero_point = quantizer.params(csr.num_edges * h.numel() // max(1, h.size(0)))
    ends, noise = (quantizer.grid.qmin, quantizer.grid.qmax), quantizer.draw_noise()
    return kernels.spmm_quantized(csr, h, weight, scale, zero_point, *ends, protected, quantizer.estimator, noise)
