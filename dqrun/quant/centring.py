"""Modules that bring values around 0 before they are rounded to one bit, so that their signs say something."""

from __future__ import annotations

from torch import Tensor, nn

from dqrun import kernels
from dqrun.errors import ConfigError

SMALLEST_DEVIATION = 1e-4


class ChannelNorm(nn.BatchNorm1d):
    """Batch normalisation of each channel without learned factors (Bi-GCN; Hubara et al. 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=False)

    def forward(self, input: Tensor) -> Tensor:
        """float32 [N, C] to the same; raises ConfigError for N < 2 in training."""
        if self.training and kernels.place_of(input.size(0))[1] < 2:
            rule = "put 2 or more nodes into each training batch, which batch norm needs"
            raise ConfigError.rule("train.batch_size", rule, input.size(0))
        return super().forward(input)


class Standardised(nn.Module):
    """x less its mean and, where `divides`, over its standard deviation, of the part that extends over `dims`.

    For a row of an activation these are all dimensions but the first (Bi-GCN's inductive networks), for a weight all
    that do not number output channels (IR-Net: Qin et al., CVPR 2020, eq. 4).
    """

    def __init__(self, dims: tuple[int, ...], divides: bool = True) -> None:
        super().__init__()
        self.dims, self.divides = dims, divides

    def forward(self, x: Tensor) -> Tensor:
        """float32 [N, ...] to the same."""
        centred = x - x.mean(self.dims, keepdim=True)
        if not self.divides:
            return centred
        return centred / (centred.square().mean(self.dims, keepdim=True).sqrt() + SMALLEST_DEVIATION)

    def extra_repr(self) -> str:
        return f"dims={self.dims}, divides={self.divides}"


def make_centring(kind: str, width: int | None, name: str) -> nn.Module:
    """The module for an activation with rows of `width`: "batch_norm" or "row".

    Raises ConfigError where a batch norm would stand at a site of unknown width. `name`: of the site.
    """
    if kind == "row":
        return Standardised((1,))
    if width is None:
        raise ConfigError.rule("method.centring.sites", "name inputs of products, whose width is known", name)
    return ChannelNorm(width)
