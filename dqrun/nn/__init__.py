"""Layers and networks, each written once. They declare sites and know nothing of methods, configs or data."""

from dqrun.nn.gat import GATLayer
from dqrun.nn.gcn import GCNLayer
from dqrun.nn.gin import GINLayer
from dqrun.nn.linear import Linear
from dqrun.nn.model import GNN

__all__ = ["GNN", "GATLayer", "GCNLayer", "GINLayer", "Linear"]
