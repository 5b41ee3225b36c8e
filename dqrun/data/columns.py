"""Columns of categories, such as OGB's nine of an atom: several integers per row, encoded as zeros and ones.

The sum of one embedding per column, as in OGB's `AtomEncoder` and `BondEncoder` (Hu et al., NeurIPS 2020), is the
product of these zeros and ones with one matrix, whose rows are the embedding vectors of all columns, column by column.
A network therefore needs no additional kind of layer: its first linear layer is the encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dqrun.errors import DataError


def column_sizes(columns: Tensor) -> tuple[int, ...]:
    """Number of categories of each column of integers [n, K]: the largest one plus 1."""
    return tuple(int(size) for size in columns.max(dim=0).values + 1) if columns.numel() else (1,) * columns.size(1)


def multi_hot(columns: Tensor, sizes: Sequence[int]) -> Tensor:
    """Zeros, with a 1 in each row and column of categories: float32 [n, sum of sizes]; columns: int64 [n, K]."""
    first = torch.tensor([sum(sizes[:k]) for k in range(len(sizes))], device=columns.device)
    return columns.new_zeros(len(columns), sum(sizes), dtype=torch.float32).scatter_(1, columns + first, 1.0)


def checked_columns(values: Tensor | None, sizes: Sequence[int], what: str) -> Tensor:
    """Whole numbers [n, K] of any dtype as int64 categories of columns with these sizes.

    Raises DataError for None, another shape, fractions and unknown categories. `what`: name of the values in the error.
    """
    if values is None or values.dim() != 2 or values.size(1) != len(sizes):
        got = "none" if values is None else str(list(values.shape))
        raise DataError(f"{what} must be {len(sizes)} columns of categories, got {got}")
    columns = values.long()
    limits = torch.tensor(list(sizes), device=values.device)
    wrong = ((columns != values) | (columns < 0) | (columns >= limits)).nonzero()
    if len(wrong):
        row, column = wrong[0].tolist()
        rule = f"column {column} must hold categories in 0..{sizes[column] - 1}"
        raise DataError(f"{what}: {rule}, got {values[row, column].item():g} in row {row}")
    return columns


@dataclass(frozen=True)
class CategoryColumns:
    """`data.features.Features` of categories in columns, int64 [N, K]; only the rows of one batch are made dense."""

    columns: Tensor
    sizes: tuple[int, ...]
    num_categories: int = 0

    @property
    def in_channels(self) -> int:
        return sum(self.sizes)

    def gather(self, node_index: Tensor) -> Tensor:
        return multi_hot(self.columns[node_index], self.sizes)
