"""A dataset: a function that gives PyG's graphs. Here: rings, which the network must tell from paths.

dqrun plugins=[examples/rings_dataset.py] dataset=rings dataset.count=100 model=gin quant=int8
"""

from dataclasses import dataclass

import torch
from torch_geometric.data import Data

import dqrun.register
from dqrun.config import DataConfig
from dqrun.config.rules import doc


@dataclass
class RingsConfig:
    """Rings and paths of random lengths, half of each."""

    count: int = doc("number of graphs, >= 10", 200)
    task: str = "graph_classification"
    features: str = "degree"

    def validate(self) -> None:
        if self.count < 10:
            raise ValueError(f"dataset.count must be >= 10, got {self.count}")


@dqrun.register.dataset("rings", config=RingsConfig)
def rings(config: RingsConfig, data: DataConfig) -> list[Data]:
    """A list: the split is drawn. Three lists would be the training, validation and test part."""
    generator = torch.Generator().manual_seed(0)
    graphs = []
    for i in range(config.count):
        nodes = int(torch.randint(4, 12, (), generator=generator))
        here = torch.arange(nodes if i % 2 else nodes - 1)  # a path lacks the edge that closes the ring
        there = (here + 1) % nodes
        edges = torch.stack([torch.cat([here, there]), torch.cat([there, here])])
        graphs.append(Data(edge_index=edges, y=torch.tensor([i % 2]), num_nodes=nodes))
    return graphs
