"""Replaces PyG's layers in a user's network by dqrun's layers, quantisation sites and kernels, for `dqrun.quantize`."""

from dqrun.swap.modules import SwappedConv, SwappedLinear, SwappedNorm, SwappedPool
from dqrun.swap.passes import ForwardPass
from dqrun.swap.swapping import Swapped, swap

__all__ = ["ForwardPass", "Swapped", "SwappedConv", "SwappedLinear", "SwappedNorm", "SwappedPool", "swap"]
