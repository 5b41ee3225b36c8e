"""Linear layers, their MLP, batch norm and embedding, with sites."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from dqrun import kernels
from dqrun.errors import ConfigError
from dqrun.graphs import Rows
from dqrun.quant import Site, Sites


class Linear(nn.Module):
    """x W^T + b, with sites `input`, `weight` and `output`; the bias stays exact (an int32 in integer programs)."""

    def __init__(self, in_channels: int, out_channels: int, nonnegative_input: bool = False) -> None:
        super().__init__()
        plain = nn.Linear(in_channels, out_channels)
        self.weight, self.bias = plain.weight, plain.bias
        self.sites = Sites(input=Site(nonnegative=nonnegative_input), weight=Site(is_weight=True), output=Site())

    def forward(self, x: Rows, protected: Tensor | None = None, relu: bool = False) -> Tensor:
        """float32 [N, in] -> [N, out]; `protected`: bool [N], rows that stay exact; `relu`: a ReLU follows."""
        x, weight = self.sites.input(x, protected), self.sites.weight(self.weight)
        if self.sites.output.idle:
            return kernels.linear(x, weight, self.bias, relu)
        return self.sites.output(kernels.linear(x, weight, self.bias), protected, relu=relu)


class BatchNorm(nn.Module):
    """Batch normalisation of node features, with site `output`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)
        self.sites = Sites(output=Site())

    def forward(self, x: Tensor, protected: Tensor | None = None, relu: bool = False) -> Tensor:
        """float32 [N, C] -> [N, C]; `relu`: a ReLU follows. Raises ConfigError for N < 2 in training."""
        if self.training and x.size(0) < 2:
            rule = "put 2 or more nodes into each training batch, which batch norm needs"
            raise ConfigError.rule("train.batch_size", rule, x.size(0))
        return self.sites.output(self.norm(x), protected, relu=relu)


class Embedding(nn.Module):
    """A vector for each category, with site `weight`."""

    def __init__(self, num_categories: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Embedding(num_categories, channels).weight
        self.sites = Sites(weight=Site(is_weight=True))

    def forward(self, category: Tensor, protected: Tensor | None = None) -> Tensor:
        """int64 [N] -> float32 [N, C]."""
        return F.embedding(category, self.sites.weight(self.weight))


class MLP(nn.ModuleList):
    """Linear layers with a ReLU between each two; `norm`: a ReLU and a batch norm at the end as well."""

    def __init__(self, channels: list[int], norm: bool = False) -> None:
        linears = [Linear(a, b, nonnegative_input=i > 0) for i, (a, b) in enumerate(pairwise(channels))]
        super().__init__([*linears, BatchNorm(channels[-1])] if norm else linears)

    def forward(self, x: Rows, protected: Tensor | None = None) -> Tensor:
        """float32 [N, channels[0]] -> [N, channels[-1]]; `protected`: bool [N], rows that stay exact throughout."""
        for i, module in enumerate(self):
            x = module(x, protected, relu=i < len(self) - 1)
        assert isinstance(x, Tensor)
        return x
