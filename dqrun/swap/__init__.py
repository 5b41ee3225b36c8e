"""A user's PyG network with dqrun's layers, quantisation sites and kernels in place of PyG's: the work of
`dqrun.quantize`."""

from dqrun.swap.modules import SwappedConv, SwappedLinear, SwappedNorm, SwappedPool
from dqrun.swap.passes import ForwardPass
from dqrun.swap.swapping import Swapped, swap

__all__ = ["ForwardPass", "Swapped", "SwappedConv", "SwappedLinear", "SwappedNorm", "SwappedPool", "swap"]
