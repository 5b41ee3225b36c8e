"""Saves tensors for backward passes; of a tensor that was rounded to a grid only its codes (`keep`, `kept`).

A rounded tensor has its grid as an attribute (`carry`). A derivative that needs the tensor in its backward pass keeps
its codes instead, 32 / bits times smaller, and the rows that stayed exact. The tensor decoded from them has the same
bits. Other tensors are kept as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dqrun.kernels.operator import Operator
from dqrun.kernels.packing import pack_codes, packed_size, unpack_codes, width_of_codes

SMALLEST = 2**18  # elements below which a tensor is not worth the time: one MiB in floats
GRID = "Tensor scale, Tensor zero_point, int qmin, int qmax"
CODED = f"{GRID}, Tensor codes, Tensor? protected, Tensor? exact, bool relu, SymInt[] shape"
_CARRIED = "dqrun_rounded"  # the attribute of a tensor
_PARTS = 5


@dataclass
class Rounded:
    """How a float32 tensor [N, ...] was rounded to a grid; `relu`: a ReLU followed.

    protected: bool [N], rows that stayed exact, or None.
    """

    scale: Tensor
    zero_point: Tensor
    qmin: int
    qmax: int
    protected: Tensor | None
    relu: bool
    version: int  # of the tensor when it was rounded: an operation in place changes it
    _codes: Tensor | None = None  # made, as `_exact`, when a first derivative keeps them: many tensors are kept by none
    _exact: Tensor | None = None

    def parts(self, x: Tensor) -> tuple[Tensor | None, ...]:
        """The tensors to keep, codes and rows that stayed exact among them; x: the rounded tensor."""
        if self._codes is None:
            x = x.detach()
            self._codes = encode(x, self.scale, self.zero_point, self.qmin, self.qmax)
            if self.protected is not None:
                self._exact = x.index_select(0, self.protected.nonzero().squeeze(1))
        return self._codes, self.scale, self.zero_point, self.protected, self._exact


def worth_codes(x: Tensor, qmin: int, qmax: int) -> bool:
    """Whether to keep codes of x, rounded: it is large enough and not traced, and codes fit a byte."""
    return type(x) is Tensor and x.numel() >= SMALLEST and qmax - qmin < 256


def carry(x: Tensor, rounded: Rounded) -> None:
    """Attaches to a tensor how it was rounded."""
    setattr(x, _CARRIED, rounded)


def same_numbers(x: Tensor, y: Tensor) -> Tensor:
    """y, rounded as x if x was; y must be a view of x with the same rows."""
    if (rounded := _carried(x)) is not None:
        carry(y, rounded)
    return y


def carries(x: Tensor) -> bool:
    """Whether a derivative would keep codes instead of x."""
    return _carried(x) is not None


def _carried(x: Tensor) -> Rounded | None:
    """How x was rounded, if it has not changed since."""
    rounded: Rounded | None = getattr(x, _CARRIED, None)
    return None if rounded is None or x._version != rounded.version else rounded


def keep(ctx: Any, x: Tensor | None, *others: Tensor | None) -> None:
    """`ctx.save_for_backward`, with the codes of x in place of x if it was rounded."""
    rounded = None if x is None else _carried(x)
    if x is None or rounded is None:
        ctx.grid = None
        ctx.save_for_backward(x, *others)
    else:
        ctx.grid = rounded.qmin, rounded.qmax, rounded.relu, x.shape
        ctx.save_for_backward(*rounded.parts(x), *others)


def kept(ctx: Any, decoded: bool = True) -> tuple[Any, ...]:
    """The tensors that `keep` has saved: x and the others. If codes of x were kept, x is decoded, or if not `decoded`
    the tuple of `decode`'s arguments."""
    saved: tuple[Any, ...] = ctx.saved_tensors
    if ctx.grid is None:
        return saved
    qmin, qmax, relu, shape = ctx.grid
    codes, scale, zero_point, protected, exact = saved[:_PARTS]
    coded = scale, zero_point, qmin, qmax, codes, protected, exact, relu, shape
    return (decode(*coded) if decoded else coded, *saved[_PARTS:])


def decoded(
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
    """The tensor of `shape` that was kept as codes; the definition of `decode`."""
    elements = torch.Size(shape).numel()
    numbers = unpack_codes(codes, width_of_codes(qmin, qmax), elements) + qmin
    x = ((numbers - zero_point).to(scale.dtype) * scale).view(shape)
    x = x.relu() if relu else x
    return x if protected is None or exact is None else x.index_copy(0, protected.nonzero().squeeze(1), exact)


def _encoded(x: Tensor, scale: Tensor, zero_point: Tensor, qmin: int, qmax: int) -> Tensor:
    numbers = torch.round(x * (1 / scale)) + (zero_point - qmin)
    return pack_codes(numbers.nan_to_num(0.0).clamp(0, qmax - qmin).int(), width_of_codes(qmin, qmax))


encode = Operator(
    f"encode(Tensor x, {GRID}) -> Tensor",
    _encoded,
    lambda x, _, __, qmin, qmax: x.new_empty(packed_size(x.numel(), width_of_codes(qmin, qmax)), dtype=torch.uint8),
)
"""The codes, minus qmin, of numbers on a grid, packed by `packing.pack_codes`; those of NaN are 0, those of numbers
outside of the grid are the ends."""
decode = Operator(
    f"decode({CODED}) -> Tensor",
    decoded,
    lambda scale, *rest: scale.new_empty(rest[-1]),
)
