"""Packing of PyG's `InMemoryDataset`s, which hold all their graphs in one collated `Data` with slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dqrun.data.packed import PackedGraphs
from dqrun.data.splits import Split


def joined(parts: Sequence[Any]) -> tuple[PackedGraphs, Split]:
    """The graphs of the parts train, val, test one after the other, and the split that names them.

    Each part is an `InMemoryDataset` of at least two graphs whose nodes have features `x`.
    """
    edges = torch.cat([part._data.edge_index for part in parts], dim=1)
    packed = PackedGraphs.from_edges(edges, _counts(parts, "x"), _counts(parts, "edge_index"))
    train, val, test = (len(part) for part in parts)
    return packed, Split.from_sizes(train, val, test)


def _counts(parts: Sequence[Any], key: str) -> Tensor:
    """Rows (columns of `edge_index`) that each graph has of the tensor `key`, int64 [G]."""
    return torch.cat([part.slices[key].diff() for part in parts])
