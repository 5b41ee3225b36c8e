"""What a derivative keeps of a tensor that was rounded to a grid: its codes, of which `keep` and `kept` make it again.

A rounded tensor carries its codes (`carry`) as long as it lives. A derivative that needs the tensor in its backward
pass keeps the codes instead, 32 / bits times smaller, and the rows that stayed exact; the tensor that it gets back has
the same bits. Other tensors are kept as they are.
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
    """float32 [N, ...] as `packing.pack_codes` lays out its codes less qmin; `relu`: what is below zero became zero.

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
    """Whether to make codes of such a tensor; while something traces, tensors are of other types and get none."""
    return type(x) is Tensor and x.numel() >= SMALLEST and qmax - qmin < 256


def carry(x: Tensor, codes: Codes) -> None:
    """Lets a tensor carry its codes."""
    setattr(x, _CARRIED, codes)


def same_numbers(x: Tensor, y: Tensor) -> Tensor:
    """y, which holds the numbers of x in their order and x's rows, with x's codes where x has some."""
    if (codes := getattr(x, _CARRIED, None)) is not None:
        carry(y, codes)
    return y


def carries(x: Tensor) -> bool:
    """Whether a derivative would keep codes of x."""
    return hasattr(x, _CARRIED)


def keep(ctx: Any, x: Tensor | None, *others: Tensor | None) -> None:
    """`ctx.save_for_backward`, with the codes of x in its place where it carries some."""
    codes: Codes | None = None if x is None else getattr(x, _CARRIED, None)
    if x is None or codes is None:
        ctx.grid = None
        ctx.save_for_backward(x, *others)
    else:
        ctx.grid = codes.qmin, codes.qmax, codes.relu, x.shape
        ctx.save_for_backward(*codes.parts(x), *others)


def kept(ctx: Any) -> tuple[Any, ...]:
    """What `keep` was given."""
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
