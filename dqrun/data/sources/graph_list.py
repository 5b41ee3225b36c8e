"""Joins the separate graphs of a raw file, in the parts train, val, test."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from dqrun.data.arrays import GraphArrays


def joined(sizes: Sequence[int], edges: Sequence[Tensor], nodes: Sequence[int], **arrays: Any) -> GraphArrays:
    """Joins the graphs of three parts, one part after the other; the parts are the split.

    `sizes`: number of graphs of each part. `edges`: int64 [2, e] of each graph, node indices from 0 within the
    graph. `nodes`: number of nodes of each graph. `arrays`: the other fields of `GraphArrays`.
    """
    ends = list(accumulate(sizes))
    train, val, test = (torch.arange(end - size, end) for size, end in zip(sizes, ends, strict=True))
    return GraphArrays(
        edge_index=torch.cat(list(edges), dim=1),
        node_counts=torch.tensor(nodes),
        edge_counts=torch.tensor([each.size(1) for each in edges]),
        train=train,
        val=val,
        test=test,
        **arrays,
    )
