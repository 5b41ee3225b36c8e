"""Weighted message passing through a site: the one place where messages meet their quantiser."""

from __future__ import annotations

from torch import Tensor

from dqrun import kernels
from dqrun.graph import CSR
from dqrun.quant import Phase, Site


def propagate(csr: CSR, h: Tensor, weight: Tensor, site: Site, keep: Tensor | None) -> Tensor:
    """Sums messages `weight[e] * h[source(e)]` over the edges of each target, each message passing `site` first.

    h: float32 [N, F] with weight [E], or [N, H, C] with weight [E, H]. keep: bool [N], sources whose messages stay
    exact (an edge takes the protection of its source). No tensor of E rows is made, unless quantisation noise asks
    for an independent draw per message.
    """
    quantizer = site.quantizer
    if quantizer is None or quantizer.phase is Phase.BYPASS:
        return kernels.spmm(csr, h, weight)
    if quantizer.noisy:
        return _propagate_each(csr, h, weight, site, keep)
    keep = quantizer.kept(keep)
    if quantizer.observing:
        quantizer.observer.update(*kernels.message_range(csr, h, weight, quantizer.observer.tail, keep))
    if not quantizer.rounding:
        return kernels.spmm(csr, h, weight)
    scale, zero_point = quantizer.params(csr.num_edges * h.numel() // max(1, h.size(0)))
    grid = quantizer.grid
    return kernels.spmm_quantized(csr, h, weight, scale, zero_point, grid.qmin, grid.qmax, keep, quantizer.estimator)


def _propagate_each(csr: CSR, h: Tensor, weight: Tensor, site: Site, keep: Tensor | None) -> Tensor:
    messages = weight.unsqueeze(-1) * h[csr.col]
    messages = site(messages, None if keep is None else keep[csr.col])
    return messages.new_zeros(h.shape).index_add(0, csr.row, messages)
