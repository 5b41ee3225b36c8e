"""`Point`: a site that is to get a quantiser."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

import torch


@dataclass(frozen=True)
class Point:
    """A site that is to get a quantiser, as a method sees it.

    `scale_shape`: of its scales, () for one; it broadcasts to the tensor. `largest_tail`: a method's percentile tail is
    cut to it; None: no limit. `generator`: of the CPU, for draws of the quantiser's own in training. `num_nodes`: of
    the one graph that the network is for (a node task on one graph), 0 where graphs differ. `width`: of the rows of an
    activation; None where the layer does not say. `weight_shape`: of a weight as its quantiser sees it, [C, G, N] where
    groups of inputs have scales of their own (`Groups`).
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
        """Whether its tensor has a row for each node: those of graphs (in the head) and of edges do not."""
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
