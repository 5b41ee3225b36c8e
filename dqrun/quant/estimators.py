"""Gradient estimators of the sign function: the slope that a backward pass uses in place of the derivative, zero.

An estimator is a module because a schedule may change it from epoch to epoch. Its slope depends on the number of the
epoch alone, so that it has no state to save.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SignEstimator(nn.Module):
    """The sign of x (0 counts as positive), and the slope used as its derivative; in this class slope 1."""

    def positive(self, x: Tensor) -> Tensor:
        """Whether the sign is +1, bool of x's shape."""
        return x >= 0

    def slope(self, x: Tensor) -> Tensor | None:
        """The factor of the gradient, of x's shape; None: 1."""
        return None

    def begin_epoch(self, epoch: int) -> None:
        """Sets the slope for an epoch, counted from 1."""


class Clipped(SignEstimator):
    """Slope 1 for |x| <= `limit`, 0 beyond (Courbariaux et al. 2016)."""

    def __init__(self, limit: float = 1.0) -> None:
        super().__init__()
        self.limit = limit

    def slope(self, x: Tensor) -> Tensor | None:
        return (x.abs() <= self.limit).to(x.dtype)

    def extra_repr(self) -> str:
        return f"limit={self.limit}"


class Reste(SignEstimator):
    """The slope of |x|^(1/o), o growing from 1 to `last` in the first `epochs` epochs (ReSTE: Wu et al., ICCV 2023).

    (1/o) |x|^((1-o)/o) for NEAR < |x| <= `limit`; 0 beyond `limit`. For |x| <= NEAR, where that slope has no bound, the
    slope of the secant from 0 to NEAR. With o = 1 it is `Clipped`.
    """

    NEAR = 0.1

    def __init__(self, last: float = 3.0, epochs: int = 100, limit: float = 1.5) -> None:
        super().__init__()
        self.last, self.epochs, self.limit = last, epochs, limit
        self.exponent = 1.0

    def begin_epoch(self, epoch: int) -> None:
        self.exponent = 1.0 + (self.last - 1.0) * min(1.0, (epoch - 1) / self.epochs)

    def slope(self, x: Tensor) -> Tensor | None:
        o, size = self.exponent, x.abs()
        power = size.clamp(min=self.NEAR).pow((1 - o) / o) / o
        power = torch.where(size <= self.NEAR, self.NEAR ** (1 / o) / self.NEAR, power)
        return power * (size <= self.limit)

    def extra_repr(self) -> str:
        return f"last={self.last}, epochs={self.epochs}, limit={self.limit}"


class Biper(SignEstimator):
    """sign(sin(w x)) with the slope of sin(w x), w cos(w x): a weight may change its sign at many places (BiPer: Vargas
    et al., CVPR 2024). `frequency`: w > 0."""

    def __init__(self, frequency: float = 20.0) -> None:
        super().__init__()
        self.frequency = frequency

    def positive(self, x: Tensor) -> Tensor:
        return torch.sin(self.frequency * x) >= 0

    def slope(self, x: Tensor) -> Tensor | None:
        return self.frequency * torch.cos(self.frequency * x)

    def extra_repr(self) -> str:
        return f"frequency={self.frequency}"
