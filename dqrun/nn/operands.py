"""Lists the products of a network: which tensor multiplies which weight."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dqrun.nn.lowering import Factors, Into, Lowering, Value


@dataclass(frozen=True)
class Product:
    """x W^T: `operand`, the sites of x; `weight`, the site of W; `channels`, the number of columns of x and W."""

    operand: tuple[str, ...]
    weight: str
    channels: int


class Products(Lowering):
    """Collects the products that a network records."""

    def __init__(self) -> None:
        self.found: list[Product] = []

    def linear(self, x: Value, weight: Tensor, site: str, into: Into, *, degree_scale: bool = False) -> Value:
        self._add(x, weight, site)
        return super().linear(x, weight, site, into, degree_scale=degree_scale)

    def linear_pair(self, first: Factors, second: Factors, into: Into) -> Value:
        for x, weight, site in (first, second):
            self._add(x, weight, site)
        return super().linear_pair(first, second, into)

    def _add(self, x: Value, weight: Tensor, site: str) -> None:
        self.found.append(Product((x.site, *x.passed), self.prefix + site, weight.size(1)))
