"""A model: a network of PyG's own layers. What can be quantised in it is: nothing here knows of quantisation.

dqrun plugins=[examples/sage_model.py] model=mean_sage quant=int8 model.width=32
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch_geometric.nn import SAGEConv
from torch_geometric.nn.aggr import MeanAggregation

import dqrun.register
from dqrun.config.rules import doc


@dataclass
class MeanSageConfig:
    """GraphSAGE of two layers, with PyG's layers."""

    width: int = doc("channels of the hidden layers, >= 1", 32)

    def validate(self) -> None:
        if self.width < 1:
            raise ValueError(f"model.width must be >= 1, got {self.width}")


@dqrun.register.model("mean_sage", config=MeanSageConfig)
class MeanSage(nn.Module):
    def __init__(self, config: MeanSageConfig, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first = SAGEConv(in_channels, config.width)
        self.second = SAGEConv(config.width, config.width)
        self.pool = MeanAggregation()
        self.last = nn.Linear(config.width, out_channels)

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor,
        batch: Tensor | None = None,
        edge_weight: Tensor | None = None,
        edge_attr: Tensor | None = None,
    ) -> Tensor:
        """Logits: of each node, or of each graph where `batch` says which graph a node is in."""
        h = torch.relu(self.first(x, edge_index))
        h = torch.relu(self.second(h, edge_index))
        return self.last(h if batch is None else self.pool(h, batch))
