"""Nodes in bins of their in-degree, and means over each bin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FEWEST = 10
"""Nodes that a bin has at least in each trial: the mean of one or two says nothing of their degree."""
Bins = list[tuple[int, int]]  # lowest and highest degree, both inclusive


@dataclass(frozen=True)
class NodeErrors:
    """Errors and accuracy of a trained network at each of n nodes.

    `degree`: int64 [n], in-degree (without self-loops that the layer added). `squared`: float64 [n], mean
    over channels of the squared difference between the last layer's aggregate, fake-quantised and FP32 (the same
    weights without quantisers). `power`: float64 [n], mean over channels of the squared FP32 aggregate. `hit`,
    `hit_fp32`: bool [n], whether the prediction is right with and without quantisers; None for graph tasks.
    """

    degree: np.ndarray
    squared: np.ndarray
    power: np.ndarray
    hit: np.ndarray | None
    hit_fp32: np.ndarray | None


@dataclass(frozen=True)
class ByDegree:
    """Means over the nodes of each bin.

    `nodes`: their number. `error`: root of the mean squared difference, relative to the root mean square of the FP32
    aggregate over all nodes. `accuracy`, `accuracy_fp32`: shares, or None for graph tasks.
    """

    nodes: list[int]
    error: list[float]
    accuracy: list[float] | None
    accuracy_fp32: list[float] | None


def degree_bins(degrees: Sequence[np.ndarray], fewest: int = FEWEST) -> Bins:
    """Bins for the in-degrees of several trials, each int64 [n]: those of 0, 1, 2, 3-4, 5-8, ... that hold nodes.

    From the highest degree downwards, a bin that has fewer than `fewest` nodes in some trial is merged with the next
    lower one; the lowest with the next higher one. One bin is left where there are too few nodes for two.
    """
    highest = max(int(degree.max(initial=0)) for degree in degrees)
    ends = [0, *(1 << power for power in range(highest.bit_length() + 1))]
    starts = [0, *(end + 1 for end in ends[:-1])]
    counts = np.stack([np.histogram(degree, [*starts, ends[-1] + 1])[0] for degree in degrees])  # [trials, bins]
    merged: list[tuple[int, int, np.ndarray]] = []  # the highest first
    for low, high, count in reversed(list(zip(starts, ends, counts.T, strict=True))):
        if not count.any():
            continue
        if merged and merged[-1][2].min() < fewest:
            _, above, others = merged.pop()
            merged.append((low, above, others + count))
        else:
            merged.append((low, high, count))
    if len(merged) > 1 and merged[-1][2].min() < fewest:
        (low, _, count), (_, high, others) = merged.pop(), merged.pop()
        merged.append((low, high, count + others))
    return [(low, high) for low, high, _ in reversed(merged)]


def by_degree(errors: NodeErrors, bins: Bins) -> ByDegree:
    """Means over the nodes of each bin; every bin has a node."""
    place = np.searchsorted([high for _, high in bins], errors.degree)
    typical = float(errors.power.mean()) or 1.0

    def means(values: np.ndarray) -> list[float]:
        return [float(values[place == k].mean()) for k in range(len(bins))]

    return ByDegree(
        nodes=[int((place == k).sum()) for k in range(len(bins))],
        error=[(value / typical) ** 0.5 for value in means(errors.squared)],
        accuracy=None if errors.hit is None else means(errors.hit),
        accuracy_fp32=None if errors.hit_fp32 is None else means(errors.hit_fp32),
    )
