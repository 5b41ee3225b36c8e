"""`UserNetwork`: a user's network (`@dqrun.register.model`) with the interface of dqrun's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from dqrun.errors import ConfigError, TrialFailed
from dqrun.graphs import Graph, Rows, dense
from dqrun.nn.lowering import Lowering
from dqrun.nn.model import GNN

if TYPE_CHECKING:
    from dqrun.swap import Swapped


class UserNetwork(GNN):
    """Calls `network(x, edge_index, batch=None, edge_weight=None, edge_attr=None)`.

    x: float32 [N, F]; categories come one-hot. edge_index: int64 [2, E], edges by ascending target, no self-loops
    added. batch, edge_weight and edge_attr are given where the task and the data have them. The result: logits
    [N, C] of a node task, [G, C] of a graph task.
    """

    def __init__(
        self, network: nn.Module, name: str, num_categories: int, graph_level: bool, swapped: Swapped | None = None
    ) -> None:
        """`swapped`: in a quantised run, the network with dqrun's modules in place of PyG's; else None."""
        super().__init__(layers=[])
        self.network = network
        self.swapped = swapped
        if swapped is not None:
            swapped.forward_pass.draw = self.mask
        self.name, self.num_categories, self.graph_level = name, num_categories, graph_level
        self.masks: Tensor | None = None
        """Protected nodes of the present forward pass, bool [K, N]; None: none."""

    @property
    def num_layers(self) -> int:
        """Number of convolutions that were swapped, at least 1."""
        return 1 if self.swapped is None else max(1, self.swapped.view.num_layers)

    @property
    def quantised(self) -> nn.Module:
        return self if self.swapped is None else self.swapped.view

    @property
    def uses_self_loops(self) -> bool:
        return False

    def forward(self, x: Rows, graph: Graph) -> Tensor:
        """Features float32 [N, F], or int64 [N] categories -> logits; raises TrialFailed for another shape."""
        rows = F.one_hot(dense(x), self.num_categories).float() if self.num_categories else dense(x)
        given = {"batch": graph.batch if self.graph_level else None}
        given |= {"edge_weight": graph.edge_weight, "edge_attr": graph.edge_attr}
        self.masks = graph.protection_masks
        try:
            logits: Tensor = self.network(
                rows, graph.csr.edge_index, **{name: value for name, value in given.items() if value is not None}
            )
        finally:
            self.masks = None
        wanted = graph.num_graphs if self.graph_level else graph.num_nodes
        if logits.dim() != 2 or logits.size(0) != wanted:
            raise TrialFailed(f"model={self.name} must give logits [{wanted}, C], got {list(logits.shape)}")
        return logits

    def mask(self, graph: Graph) -> Graph:
        """Adds the masks of protected nodes of the present forward pass to a graph; called by swapped modules."""
        return graph.with_protection_masks(self.masks)

    def embed(self, x: Rows, graph: Graph) -> Rows:
        """The logits, because tensors before them are unknown."""
        return self(x, graph)  # type: ignore[no-any-return]

    def classify(self, states: Rows, graph: Graph) -> Tensor:
        return dense(states)

    def lower(self, to: Lowering) -> bool:
        """Records a quantised network that is a chain of operations in `to`; see `dqrun.lower`."""
        from dqrun.swap.lowering import lower_swapped

        if self.swapped is None:
            raise ConfigError(f"model={self.name} must be quantised to be written as an integer program")
        return lower_swapped(self.swapped, to, self.graph_level)
