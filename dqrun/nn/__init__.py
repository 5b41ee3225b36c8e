"""Layers and networks, each written once. They declare sites and do not depend on methods or data.

A layer is one file and one name in `dqrun.register`. The file has its equation, its sites, its constructor from a
configuration, its operations (`lower`: for integer programs and costs) and the equivalent layer of PyG.
"""

from dqrun.nn.gat import GATLayer
from dqrun.nn.gcn import GCNLayer
from dqrun.nn.gin import GINLayer
from dqrun.nn.layer import Layer, Place
from dqrun.nn.linear import Linear
from dqrun.nn.lowering import Into, Lowering, Value
from dqrun.nn.model import GNN

__all__ = ["GNN", "GATLayer", "GCNLayer", "GINLayer", "Into", "Layer", "Linear", "Lowering", "Place", "Value"]
