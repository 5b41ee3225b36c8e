"""Evaluation of a network on a whole large graph, layer by layer and block by block, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from dqrun.graphs import Batch, Graph, dense
from dqrun.kernels.sampling import Parts
from dqrun.nn import GNN

Rows = Callable[[Tensor], Tensor]
"""Gives rows by the ids of nodes."""


def outputs(model: nn.Module, batch: Batch) -> Tensor:
    """Logits of a batch in evaluation mode, [N, C] or [G, C]; in blocks if the batch demands it (`Batch.gather`)."""
    if batch.gather is None:
        logits: Tensor = model(batch.x, batch.graph)
        return logits
    return pass_in_blocks(cast(GNN, model), batch.gather, batch.graph, batch.block)


@torch.no_grad()
def pass_in_blocks(model: GNN, features: Rows, graph: Graph, block: int) -> Tensor:
    """The logits of all nodes, float32 [N, C], of a network for node tasks in evaluation mode.

    A layer is computed for `block` nodes at a time, from the previous states of these nodes and of all their
    neighbours. No edge is left out. Only products of gathered rows are computed more than once. Memory: two states of
    all nodes, [N, hidden], and the tensors of one block. Sums over edges have the same order as in a pass over the
    whole graph; matrix products may differ in rounding, because their sizes differ.
    """
    parts, states = Parts(graph, model.uses_self_loops), features
    for i in range(len(model.layers)):
        states = _layer(model, i, states, parts, block).__getitem__
    return states(slice(None))  # type: ignore[arg-type]


def _layer(model: GNN, i: int, states: Rows, parts: Parts, block: int) -> Tensor:
    """The output of layer i, from its input (for the first layer the features)."""
    made: Tensor | None = None
    for first in range(0, parts.graph.num_nodes, block):
        last = min(first + block, parts.graph.num_nodes)
        graph, nodes = parts.block(first, last)
        rows = states(nodes)
        x = model.enter(rows, graph) if i == 0 else rows
        out = dense(model.classify(x, graph) if i == model.num_hidden else model.step(i, x, graph))
        if made is None:
            made = out.new_empty(parts.graph.num_nodes, out.size(1))
        made[first:last] = out[: last - first]
    assert made is not None
    return made
