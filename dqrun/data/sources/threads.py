"""SYNTHETIC discussion threads: a seeded stand-in for REDDIT-BINARY that needs no download.

A graph is a thread, a node a user, an edge between two users who answered one another. Both classes have hubs with
up to hundreds of neighbours and mostly nodes with one or two; sizes and hub degrees overlap widely. They differ in
how the other users are connected:

* question and answer (class 1): a few experts answer many askers. An asker often gets several experts' answers, and
  askers hardly talk to one another.
* discussion (class 0): one or two long posts collect replies, and replies collect replies of their own, so that the
  thread grows into a tree of medium-sized hubs with some cross links.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dqrun.config import DataConfig, DatasetConfig
from dqrun.data.dataset import GraphDataset
from dqrun.data.packed import PackedGraphs
from dqrun.errors import ConfigError

Edges = NDArray[np.int64]  # [E, 2], each pair of users once


@dataclass(frozen=True)
class ThreadClass:
    """How threads of one class grow; shares and probabilities are in [0, 1]."""

    hubs: tuple[int, int]  # fewest and most hubs of a thread, drawn uniformly
    hub_share: tuple[float, float]  # range of the share of users whose first link is to a hub, drawn per thread
    copy: float  # probability that a reply to a user goes to that user's parent: makes medium-sized hubs
    second_hub: float  # share of users who are linked to a second hub too
    cross: float  # links between random ordinary users, per user


@dataclass(frozen=True)
class ThreadParameters:
    """Sizes, common to both classes (log-normal, cut at both ends), and the two ways of growing."""

    median_nodes: float = 130.0
    sigma_nodes: float = 0.75
    min_nodes: int = 30
    max_nodes: int = 900
    hub_skew: float = 1.0  # hub k draws users with weight (k + 1)^-hub_skew
    mixing: float = 0.10  # share of users who behave as in the other class
    discussion: ThreadClass = ThreadClass(hubs=(1, 3), hub_share=(0.30, 0.70), copy=0.70, second_hub=0.10, cross=0.10)
    question_answer: ThreadClass = ThreadClass(
        hubs=(2, 5), hub_share=(0.50, 0.90), copy=0.15, second_hub=0.25, cross=0.06
    )


def load(dataset: DatasetConfig, data: DataConfig) -> GraphDataset:
    """`dataset.graphs` threads, half of each class, generated from `dataset.seed`; they have no features.

    Raises ConfigError for another task than graph classification.
    """
    if dataset.task != "graph_classification":
        raise ConfigError.rule("dataset.task", "be graph_classification for threads", dataset.task)
    return generate(dataset.graphs, dataset.seed)


def generate(graphs: int, seed: int, parameters: ThreadParameters | None = None) -> GraphDataset:
    """A dataset of `graphs` threads in random order; y int64 [graphs]. Class sizes differ by at most one."""
    parameters = parameters or ThreadParameters()
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(graphs) % 2)
    threads = [_thread(rng, parameters, int(label)) for label in y]
    edges = [np.concatenate([pairs, pairs[:, ::-1]]) for _, pairs in threads]
    return GraphDataset(
        name="threads",
        task="graph_classification",
        packed=PackedGraphs.from_edges(
            torch.from_numpy(np.concatenate(edges).T.copy()),
            torch.tensor([nodes for nodes, _ in threads]),
            torch.tensor([len(pairs) for pairs in edges]),
        ),
        y=torch.from_numpy(y),
        num_classes=2,
        synthetic=True,
        note=f"threads is SYNTHETIC: {graphs} generated discussion threads (seed {seed}), no real data",
    )


def _thread(rng: np.random.Generator, parameters: ThreadParameters, label: int) -> tuple[int, Edges]:
    """Number of users and the pairs of one thread; users 0..hubs-1 are the hubs."""
    size = parameters.median_nodes * rng.lognormal(0.0, parameters.sigma_nodes)
    nodes = int(np.clip(size, parameters.min_nodes, parameters.max_nodes))
    kinds = (parameters.discussion, parameters.question_answer)
    hubs = int(rng.integers(kinds[label].hubs[0], kinds[label].hubs[1] + 1))
    shares = [rng.uniform(*kind.hub_share) for kind in kinds]
    behaves = np.where(rng.random(nodes) < parameters.mixing, 1 - label, label)  # class whose rules each user follows

    def chance(probabilities: list[float]) -> NDArray[np.bool_]:
        return rng.random(nodes) < np.array(probabilities)[behaves]

    weight = np.arange(1, hubs + 1, dtype=np.float64) ** -parameters.hub_skew
    hub_of = rng.choice(hubs, (2, nodes), p=weight / weight.sum())
    parent = _parents(hubs, hub_of[0], chance(shares), chance([kind.copy for kind in kinds]), rng.random(nodes))
    users = np.arange(nodes)
    second = users[chance([kind.second_hub for kind in kinds])]
    crossing = users[chance([kind.cross for kind in kinds])]
    first = np.concatenate([users, second, crossing])
    other = np.concatenate([parent, hub_of[1][second], rng.integers(hubs, nodes, crossing.size)])
    pairs = np.stack([np.minimum(first, other), np.maximum(first, other)], axis=1)
    return nodes, np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)


def _parents(
    hubs: int,
    hub_of: NDArray[np.int64],
    to_hub: NDArray[np.bool_],
    copies: NDArray[np.bool_],
    position: NDArray[np.float64],
) -> NDArray[np.int64]:
    """The parent (receiver of the first reply) of each user, int64 [nodes].

    The parent of hub k > 0 is hub k - 1, that of hub 0 is hub 0 (no edge). The parent of another user is a hub, or an
    earlier user, drawn uniformly (`position`), or that user's parent. The last rule is the copying model of
    preferential attachment (Kumar et al., FOCS 2000): its in-degrees are heavy-tailed.
    """
    parent = [0, *range(hubs - 1)]
    for user in range(hubs, len(hub_of)):
        if to_hub[user] or user == hubs:
            parent.append(int(hub_of[user]))
            continue
        replied = hubs + int(position[user] * (user - hubs))
        parent.append(parent[replied] if copies[user] and parent[replied] >= hubs else replied)
    return np.array(parent, dtype=np.int64)
