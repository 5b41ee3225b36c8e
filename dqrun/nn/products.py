"""Products with a rounded weight: the one place that applies the quantiser of a weight."""

from __future__ import annotations

from torch import Tensor

from dqrun import kernels
from dqrun.graphs import Rows, dense
from dqrun.quant import Site


def product(
    x: Rows, site: Site, weight: Tensor, bias: Tensor | None = None, relu: bool = False, transposed: bool = False
) -> Tensor:
    """x W^T + bias, then a ReLU if `relu`; W = site(weight): x float32 [N, K], result float32 [N, M].

    weight: [M, K], or [K, M] if `transposed`; bias: [M]. With `Quantizer.passes_signs` the gradient of x is computed
    with the signs of W in place of W, as in the released code of Bi-GCN.
    """
    rounded = site(weight)
    used = rounded.t() if transposed else rounded
    if not (site.training and site.quantizer is not None and site.quantizer.passes_signs) or site.idle:
        return kernels.linear(x, used, bias, relu)
    rows = dense(x)
    through = kernels.linear(rows, used.detach().sign())
    y = kernels.linear(rows.detach(), used, bias) + (through - through.detach())
    return y.relu() if relu else y
