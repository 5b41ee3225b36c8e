"""Modules that centre values around 0 before they are rounded to one bit, so that both signs occur."""

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
    """x minus its mean over `dims`, divided by its standard deviation over `dims` if `divides`.

    For an activation `dims` are all dimensions but the first (Bi-GCN's inductive networks); for a weight, all that do
    not number output channels (IR-Net: Qin et al., CVPR 2020, eq. 4).
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

    Raises ConfigError for "batch_norm" where the width is unknown. `name`: of the site, for the error.
    """
    if kind == "row":
        return Standardised((1,))
    if width is None:
        raise ConfigError.rule("method.centring.sites", "name inputs of products, whose width is known", name)
    return ChannelNorm(width)
