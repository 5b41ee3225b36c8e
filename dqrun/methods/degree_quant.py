"""Degree-Quant's protection of high in-degree nodes (Tailor et al., ICLR 2021, section 4)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dqrun.graphs import Graph


@dataclass(frozen=True)
class Protection:
    """Draws which nodes stay exact in a forward pass.

    p(node) = p_min + (p_max - p_min) * F(in-degree), F the empirical distribution of in-degrees in the node's own
    graph. One mask serves all layers (`num_masks=1`, the released code) or each layer has its own (the paper).
    """

    p_min: float
    p_max: float
    num_masks: int = 1

    def probability(self, degree_rank: Tensor) -> Tensor:
        """float32 [N] in [p_min, p_max] from F(in-degree), float32 [N]."""
        return self.p_min + (self.p_max - self.p_min) * degree_rank

    def draw(self, graph: Graph, generator: torch.Generator) -> Graph:
        """The graph with a fresh mask, bool [num_masks, N]; `generator` lives on the graph's device."""
        probability = self.probability(graph.degree_rank)
        shape = (self.num_masks, graph.num_nodes)
        return graph.with_protection_masks(
            torch.rand(shape, generator=generator, device=probability.device) < probability
        )
