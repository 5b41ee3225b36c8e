"""Products with a weight that is rounded: the one place where they meet the quantiser of the weight."""

from __future__ import annotations

from torch import Tensor

from dqrun import kernels
from dqrun.graphs import Rows, dense
from dqrun.quant import Site


def product(
    x: Rows, site: Site, weight: Tensor, bias: Tensor | None = None, relu: bool = False, transposed: bool = False
) -> Tensor:
    """x W^T + bias, then a ReLU if asked for, W what `site` makes of the weight: x [N, K], result [N, M].

    weight: [M, K], or [K, M] where `transposed`. A quantiser that scales signs may ask for x to get its gradient from
    the signs alone (`Quantizer.passes_signs`), as the released code of Bi-GCN does.
    """
    rounded = site(weight)
    used = rounded.t() if transposed else rounded
    if not (site.training and site.quantizer is not None and site.quantizer.passes_signs) or site.idle:
        return kernels.linear(x, used, bias, relu)
    rows = dense(x)
    through = kernels.linear(rows, used.detach().sign())
    y = kernels.linear(rows.detach(), used, bias) + (through - through.detach())
    return y.relu() if relu else y
