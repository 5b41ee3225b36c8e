"""Saves tensors for backward passes; of a tensor that was rounded to a grid only its codes (`keep`, `kept`).

A rounded tensor has its codes as an attribute (`carry`). A derivative that needs the tensor in its backward pass keeps
the codes instead, 32 / bits times smaller, and the rows that stayed exact. The tensor decoded from them has the same
bits. Other tensors are kept as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dqrun.kernels.operator import Operator
from dqrun.kernels.packing import unpack_codes, width_of_codes

SMALLEST = 2**15  # elements below which a tensor is not worth the calls
GRID = "Tensor scale, Tensor zero_point, int qmin, int qmax"
_CARRIED = "dqrun_codes"  # the attribute of a tensor
_PARTS = 5


@dataclass
class Codes:
    """The codes of a float32 tensor [N, ...], minus qmin, as `packing.pack_codes` packs them; `relu`: a ReLU followed.

    protected: bool [N], rows that stayed exact, or None.
    """

    codes: Tensor
    scale: Tensor
    zero_point: Tensor
    qmin: int
    qmax: int
    protected: Tensor | None
    relu: bool
    exact: Tensor | None = None  # rows [P, ...], made when a first derivative keeps them

    def parts(self, x: Tensor) -> tuple[Tensor | None, ...]:
        """The tensors to keep; x: the tensor itself."""
        if self.protected is not None and self.exact is None:
            self.exact = x.detach().index_select(0, self.protected.nonzero().squeeze(1))
        return self.codes, self.scale, self.zero_point, self.protected, self.exact


def worth_codes(x: Tensor, qmin: int, qmax: int) -> bool:
    """Whether codes are worth computing for x: it is large enough and not traced, and codes fit a byte."""
    return type(x) is Tensor and x.numel() >= SMALLEST and qmax - qmin < 256


def carry(x: Tensor, codes: Codes) -> None:
    """Attaches codes to a tensor."""
    setattr(x, _CARRIED, codes)


def same_numbers(x: Tensor, y: Tensor) -> Tensor:
    """y with the codes of x attached, if x has some; y must have x's numbers in the same order and rows."""
    if (codes := getattr(x, _CARRIED, None)) is not None:
        carry(y, codes)
    return y


def carries(x: Tensor) -> bool:
    """Whether x has codes, which a derivative would keep instead of x."""
    return hasattr(x, _CARRIED)


def keep(ctx: Any, x: Tensor | None, *others: Tensor | None) -> None:
    """`ctx.save_for_backward`, with the codes of x in place of x if it has some."""
    codes: Codes | None = None if x is None else getattr(x, _CARRIED, None)
    if x is None or codes is None:
        ctx.grid = None
        ctx.save_for_backward(x, *others)
    else:
        ctx.grid = codes.qmin, codes.qmax, codes.relu, x.shape
        ctx.save_for_backward(*codes.parts(x), *others)


def kept(ctx: Any) -> tuple[Any, ...]:
    """The tensors that `keep` has saved: x, decoded if necessary, and the others."""
    saved: tuple[Any, ...] = ctx.saved_tensors
    if ctx.grid is None:
        return saved
    qmin, qmax, relu, shape = ctx.grid
    codes, scale, zero_point, protected, exact = saved[:_PARTS]
    return (decode(scale, zero_point, qmin, qmax, codes, protected, exact, relu, shape), *saved[_PARTS:])


def _decoded(
    scale: Tensor,
    zero_point: Tensor,
    qmin: int,
    qmax: int,
    codes: Tensor,
    protected: Tensor | None,
    exact: Tensor | None,
    relu: bool,
    shape: list[int],
) -> Tensor:
    elements = torch.Size(shape).numel()
    numbers = unpack_codes(codes, width_of_codes(qmin, qmax), elements) + qmin
    x = ((numbers - zero_point).to(scale.dtype) * scale).view(shape)
    x = x.relu() if relu else x
    return x if protected is None or exact is None else x.index_copy(0, protected.nonzero().squeeze(1), exact)


decode = Operator(
    f"decode({GRID}, Tensor codes, Tensor? protected, Tensor? exact, bool relu, SymInt[] shape) -> Tensor",
    _decoded,
    lambda scale, *rest: scale.new_empty(rest[-1]),
)
