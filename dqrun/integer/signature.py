"""`Signature`: what a program takes and gives, derived from its operations."""

from __future__ import annotations

from dataclasses import dataclass

LARGEST_SUM = 2**31 - 1
"""Sums of codes and products of codes are int32."""


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a program. `validation.validate` derives them; the file does not store them.

    `in_channels`: width of float features, or 0; `num_categories`: number of categories, or 0. `graph_level`: a row of
    logits per graph, else per node. `degree_limit`, `size_limit`: largest numbers of edges into a node and of nodes of
    a graph for which no int32 sum overflows: LARGEST_SUM divided by the largest code that is summed.
    """

    in_channels: int
    num_categories: int
    out_channels: int
    graph_level: bool
    degree_limit: int
    size_limit: int
