"""`Prompt`: a low-rank addition to rows that depends on them (LoRAP, arXiv 2601.15079)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dqrun.graphs import Rows, dense
from dqrun.nn.layer import Layer
from dqrun.quant import Site


class Prompt(nn.Module):
    """s_i + softmax(s_i U) V: adds to each row s_i a mean of the `rank` rows of V with weights softmax(s_i U).

    V is initialised with zeros, so that at first the prompt has no effect. Parameters `choice` U: float32 [F, rank];
    `bank` V: [rank, F].
    """

    def __init__(self, channels: int, rank: int) -> None:
        super().__init__()
        self.choice = nn.Parameter(torch.empty(channels, rank))
        self.bank = nn.Parameter(torch.zeros(rank, channels))
        nn.init.xavier_uniform_(self.choice)

    def forward(self, rows: Rows) -> Tensor:
        """float32 [N, ...] with F numbers in a row -> the same shape."""
        x = dense(rows)
        flat = x.flatten(1)
        return (flat + (flat @ self.choice).softmax(1) @ self.bank).view_as(x)


def add_prompts(model: nn.Module, rank: int) -> None:
    """Adds a prompt to each message-passing layer; it is applied to the sums over edges before these are rounded."""
    for layer in [module for module in model.modules() if isinstance(module, Layer)]:
        site: Site = layer.aggregate_site
        site.nonnegative = False
        site.extension = Prompt(layer.aggregate_channels, rank).to(next(layer.parameters()).device)
