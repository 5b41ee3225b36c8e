"""`NodeTable`, `NearestTable`: learned scales and widths of rows (A2Q: Zhu et al., ICLR 2023)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar, cast

import torch
from torch import Tensor, nn

from dqrun import kernels
from dqrun.errors import DataError
from dqrun.kernels.combine import values_of
from dqrun.kernels.row_widths import fake_quantize_local
from dqrun.quant.row_widths import RowWidths, whole_bits
from dqrun.quant.scales import Phase, Quantizable
from dqrun.quant.spec import QuantSpec, Scales
from dqrun.quant.values import Values

T = TypeVar("T")


class RowTable(RowWidths):
    """A table of K pairs of scale and width, learned by the local gradient (`fake_quantize_local`).

    A subclass assigns a pair to each row. The parameter is the logarithm of the scale, as in `LearnedScale`. Pairs
    begin with `spec.bits` bits. Their scales begin at the first training step, so that the largest code stands for the
    largest |x| of a row. A grid has codes for negative values once such a value was seen in training.

    Parameters `log_scale`: float32 [K], NaN until it begins, `bits`: float32 [K]. Buffer `signed`: bool 0-d.
    """

    parameter: ClassVar[str] = "log_scale"
    signed: Tensor

    def __init__(self, spec: QuantSpec, pairs: int) -> None:
        super().__init__(spec)
        self.log_scale = nn.Parameter(torch.full((pairs,), torch.nan))
        self.bits = nn.Parameter(torch.full((pairs,), float(spec.bits)))
        self.register_buffer("signed", torch.tensor(False))

    @property
    def ready(self) -> bool:
        return not bool(self.log_scale.isnan().any())

    @torch.no_grad()
    def observe(self, tensor: Quantizable[object], phase: Phase) -> bool:
        if not self.training:
            return False
        if self.spec.signed and not self.signed:
            self.signed.fill_(self.ranks.total(bool((values_of(tensor.x) < 0).any())) > 0)
        if not self.ready:
            sizes = self.ranks.joined(_sizes(tensor.x))
            if bool((sizes > 0).any()):
                self.log_scale.copy_((self._first_sizes(sizes) / self._qmax(self.bits)).log())
        return True

    def rounded(self, tensor: Quantizable[T], rounding: Callable[[Quantizable[T], Scales], T]) -> T:
        assert isinstance(tensor, Values)
        scale, bits = self.log_scale.exp(), cast(Tensor, self.bits)
        x: Any = tensor.x
        chosen = self._pairs_of(x, scale, bits)
        if chosen is not None:
            scale, bits = scale[chosen], bits[chosen]
        y: Any = fake_quantize_local(x, scale, whole_bits(bits), bool(self.signed))
        self.note(tensor, bits)
        return cast(T, y.relu() if tensor.relu else y)

    def _qmax(self, bits: Tensor) -> Tensor:
        """Largest codes, at least 1."""
        return (torch.exp2(bits - self.signed.to(bits.dtype)) - 1).clamp(min=1.0)

    def _first_sizes(self, sizes: Tensor) -> Tensor:
        """First values of the largest codes of the pairs, float32 [K] > 0. `sizes`: max |x| of each row, [N]."""
        raise NotImplementedError

    def _pairs_of(self, x: kernels.Rows, scale: Tensor, bits: Tensor) -> Tensor | None:
        """The pair of each row, int64 [N]; None: row i has pair i."""
        raise NotImplementedError


def _sizes(x: kernels.Rows) -> Tensor:
    """max |x| of each row, float32 [N]."""
    low, high = (each.flatten() for each in kernels.row_extremes(x, 0))
    return torch.maximum(-low, high)


class NodeTable(RowTable):
    """A pair for each node of the single training graph. Raises DataError for another number of rows."""

    def _first_sizes(self, sizes: Tensor) -> Tensor:
        return torch.where(sizes > 0, sizes, sizes[sizes > 0].mean())

    def _pairs_of(self, x: kernels.Rows, scale: Tensor, bits: Tensor) -> None:
        if x.size(0) != scale.numel():
            rows = f"{scale.numel()} nodes that were trained on"
            raise DataError(f"each of the {rows} has its scale and width (method=a2q): got {x.size(0)} rows")


class NearestTable(RowTable):
    """Row i gets the pair k that minimises | max_j |x_ij| - s_k qmax_k |, also in unseen graphs (Algorithm 1)."""

    def _first_sizes(self, sizes: Tensor) -> Tensor:
        places = torch.linspace(0, 1, self.log_scale.numel(), device=sizes.device)
        ordered = sizes[sizes > 0].sort().values
        return ordered[(places * (ordered.numel() - 1)).round().long()]

    @torch.no_grad()
    def _pairs_of(self, x: kernels.Rows, scale: Tensor, bits: Tensor) -> Tensor:
        sizes = _sizes(x)
        reach, order = (scale * (torch.exp2(whole_bits(bits) - self.signed.to(bits.dtype)) - 1)).sort(stable=True)
        above = torch.searchsorted(reach, sizes).clamp(max=reach.numel() - 1)
        below = (above - 1).clamp(min=0)
        return order[torch.where(sizes - reach[below] <= reach[above] - sizes, below, above)]
