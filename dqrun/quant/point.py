"""`Point`: description of a site that will get a quantiser."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

import torch


@dataclass(frozen=True)
class Point:
    """Description of a site that will get a quantiser; the argument of `Method.quantizer`.

    `scale_shape`: shape of the scales, () for one; it broadcasts to the tensor. `largest_tail`: upper limit of a
    method's percentile tail; None: no limit. `generator`: on the CPU, for random draws of the quantiser in training.
    `num_nodes`: of the single graph of a node task, 0 where there are several graphs. `width`: number of elements in a
    row of an activation; None if the layer does not state it. `weight_shape`: shape in which a quantiser gets the
    weight, [C, G, N] where groups of inputs have scales of their own (`Groups`).
    """

    name: str
    is_weight: bool = False
    scale_shape: tuple[int, ...] = ()
    largest_tail: float | None = None
    generator: torch.Generator | None = None
    num_nodes: int = 0
    width: int | None = None
    weight_shape: tuple[int, ...] | None = None

    @property
    def has_node_rows(self) -> bool:
        """Whether its tensor has a row for each node; tensors of graphs (in the head) and of edges do not."""
        return not (self.is_weight or self.matches("head") or self.matches("**.edge"))

    def cut_tail(self, tail: float) -> float:
        """A method's percentile tail within the limit."""
        return tail if self.largest_tail is None else min(tail, self.largest_tail)

    def matches(self, glob: str) -> bool:
        """Whether a glob names the site or a part of the network that holds it; see `matches`."""
        return matches(self.name, glob)


@cache
def _pattern(glob: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*\.|\*\*|\*|\?)", glob)
    special = {"**.": r"(?:.*\.)?", "**": ".*", "*": r"[^.]*", "?": r"[^.]"}
    return re.compile("".join(special.get(part, re.escape(part)) for part in parts) + r"(?:\..*)?")


def matches(name: str, glob: str) -> bool:
    """Whether a glob names a site or a module that holds it: `*` stays within one dotted part, `**` spans parts.

    `head.0.input` is named by `**.input`, `head.*.*`, and, with its module, by `head.0`, `head.*`, `head`.
    """
    return _pattern(glob).fullmatch(name) is not None
