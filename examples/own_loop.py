"""A whole training loop of one's own: dqrun gives the quantised network and its integer program, nothing else.

python examples/own_loop.py [EPOCHS]
"""

import sys

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GINConv
from torch_geometric.nn.aggr import SumAggregation

import dqrun


class Net(nn.Module):
    """A graph isomorphism network that knows nothing of quantisation."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.conv = GINConv(nn.Sequential(nn.Linear(1, width), nn.ReLU(), nn.Linear(width, width)))
        self.pool = SumAggregation()
        self.last = nn.Linear(width, 2)

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
        return self.last(self.pool(torch.relu(self.conv(x, edge_index)), batch))


def star(leaves: int, y: int) -> Data:
    """A hub with leaves (class 1), or the same nodes in a ring (class 0)."""
    outer = torch.arange(1, leaves + 1)
    hub = torch.zeros_like(outer) if y else outer % leaves + 1
    edges = torch.stack([torch.cat([hub, outer]), torch.cat([outer, hub])])
    return Data(x=torch.ones(leaves + 1, 1), edge_index=edges, y=torch.tensor([y]), num_nodes=leaves + 1)


def main(epochs: int = 30) -> float:
    torch.manual_seed(0)
    graphs = [star(3 + i % 8, i % 2) for i in range(64)]
    train, test = Batch.from_data_list(graphs[:48]), Batch.from_data_list(graphs[48:])
    model = dqrun.quantize(Net(), quant="int8", method="dq", plan="integer")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(epochs):
        model.train()
        loss = nn.functional.cross_entropy(model(train.x, train.edge_index, train.batch), train.y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    program = dqrun.lower(model)
    answers = program(test.x, test.edge_index, test.batch).argmax(1)
    accuracy = (answers == test.y).float().mean().item()
    print(f"loss {loss.item():.4f}, test accuracy of the integer program {accuracy:.4f}")
    return accuracy


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
