"""Linear layers, their MLP, batch norm and embedding, with sites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from dqrun import kernels
from dqrun.errors import ConfigError
from dqrun.graphs import Rows
from dqrun.nn.lowering import Into, Lowering, Value
from dqrun.nn.products import product
from dqrun.quant import Site, Sites


class Linear(nn.Module):
    """x W^T + b, with sites `input`, `weight` and `output`; the bias stays in FP32 (an int32 in integer programs)."""

    def __init__(self, in_channels: int, out_channels: int, nonnegative_input: bool = False) -> None:
        super().__init__()
        plain = nn.Linear(in_channels, out_channels)
        self.weight, self.bias = plain.weight, plain.bias
        self.sites = Sites(
            input=Site(nonnegative=nonnegative_input, scalars=in_channels == 1, width=in_channels),
            weight=Site(self.weight),
            output=Site(scalars=out_channels == 1),
        )

    def forward(self, x: Rows, protected: Tensor | None = None, relu: bool = False) -> Tensor:
        """float32 [N, in] -> [N, out]; `protected`: bool [N], rows that stay in FP32; `relu`: a ReLU follows."""
        x, sites = self.sites.input(x, protected), self.sites
        if sites.output.idle:
            return product(x, sites.weight, self.weight, self.bias, relu)
        return sites.output(product(x, sites.weight, self.weight, self.bias), protected, relu=relu)

    def lower(self, to: Lowering, x: Value, into: Into) -> Value:
        """Records its product in `to`; x: the value of its site `input`."""
        return to.linear(x, self.weight, "weight", replace(into, bias=self.bias))

    def to_torch(self) -> nn.Linear:
        """PyTorch's layer with the same weights."""
        linear = nn.Linear(self.weight.size(1), self.weight.size(0))
        linear.load_state_dict({"weight": self.weight, "bias": self.bias})
        return linear


class Matrix(nn.Module):
    """One of several weights of a layer, with its site `weight`."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """weight: a parameter [out, in]. bias: a parameter [out] or None; it is stored here, but `forward` adds it only
        if the caller passes it."""
        super().__init__()
        self.weight, self.bias = weight, bias
        self.sites = Sites(weight=Site(self.weight))

    def forward(self, x: Rows, bias: Tensor | None = None) -> Tensor:
        """x W^T + bias: float32 [N, in] -> [N, out]."""
        return product(x, self.sites.weight, self.weight, bias)


class BatchNorm(nn.Module):
    """Batch normalisation of node features, with site `output`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)
        self.sites = Sites(output=Site())

    def forward(self, x: Tensor, protected: Tensor | None = None, relu: bool = False) -> Tensor:
        """float32 [N, C] -> [N, C]; `relu`: a ReLU follows. Raises ConfigError for N < 2 in training."""
        if self.training and kernels.place_of(x.size(0))[1] < 2:
            rule = "put 2 or more nodes into each training batch, which batch norm needs"
            raise ConfigError.rule("train.batch_size", rule, x.size(0))
        return self.sites.output(kernels.batch_norm(x, self.norm), protected, relu=relu)

    def to_torch(self) -> nn.BatchNorm1d:
        """PyTorch's layer with the same weights and statistics."""
        norm = nn.BatchNorm1d(self.norm.num_features)
        norm.load_state_dict(self.norm.state_dict())
        return norm


class Embedding(nn.Module):
    """A vector for each category, with site `weight`."""

    def __init__(self, num_categories: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Embedding(num_categories, channels).weight
        self.sites = Sites(weight=Site(self.weight, channels=(1,)))

    def forward(self, category: Tensor, protected: Tensor | None = None) -> Tensor:
        """int64 [N] -> float32 [N, C]."""
        return F.embedding(category, self.sites.weight(self.weight))

    def lower(self, to: Lowering, into: Into) -> Value:
        """Records the look-up in `to`."""
        return to.lookup(self.weight, "weight", into)

    def to_torch(self) -> nn.Embedding:
        """PyTorch's layer with the same vectors."""
        embedding = nn.Embedding(self.weight.size(0), self.weight.size(1))
        embedding.load_state_dict({"weight": self.weight})
        return embedding


class MLP(nn.ModuleList):
    """Linear layers with a ReLU between each two; `norm`: a ReLU and a batch norm at the end as well."""

    def __init__(self, channels: list[int], norm: bool = False) -> None:
        linears = [Linear(a, b, nonnegative_input=i > 0) for i, (a, b) in enumerate(pairwise(channels))]
        super().__init__([*linears, BatchNorm(channels[-1])] if norm else linears)

    def forward(self, x: Rows, protected: Tensor | None = None) -> Tensor:
        """float32 [N, channels[0]] -> [N, channels[-1]]; `protected`: bool [N], rows that stay in FP32 throughout."""
        for i, module in enumerate(self):
            x = module(x, protected, relu=i < len(self) - 1)
        assert isinstance(x, Tensor)
        return x

    def lower(self, to: Lowering, x: Value, into: Into) -> Value:
        """Records its products in `to`; x: the value of the site `0.input`. A last batch norm follows a ReLU."""
        if isinstance(self[-1], BatchNorm):
            into = replace(into, inner=self[-1])
        return lower_chain(to, self.linears, x, into)

    def to_torch(self) -> nn.Sequential:
        """The same in PyTorch's layers."""
        layers = [module.to_torch() for module in cast(list[Linear | BatchNorm], list(self))]
        return nn.Sequential(*layers[:1], *(each for layer in layers[1:] for each in (nn.ReLU(), layer)))

    @property
    def linears(self) -> list[Linear]:
        """Its linear layers."""
        return [module for module in self if isinstance(module, Linear)]


def lower_chain(to: Lowering, linears: Sequence[Linear], x: Value, into: Into) -> Value:
    """Records linear layers, the parts 0, 1, ... of a part, with a ReLU between each two."""
    for k, linear in enumerate(linears):
        last = k == len(linears) - 1
        following = into if last else replace(to.into(f"{k + 1}.input"), activation="relu")
        x = linear.lower(to.part(str(k)), x, following)
    return x
