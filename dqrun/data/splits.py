"""`Split`: the graphs (or nodes) for training, validation and test; and the rules that make splits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dqrun.config import ProtocolConfig
from dqrun.errors import ConfigError, DataError

if TYPE_CHECKING:  # `dataset` imports `Split` from here
    from dqrun.data.dataset import GraphDataset

PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Split:
    """Ids of graphs (node tasks: of nodes) in each part; int64 [n] each, disjoint."""

    train: Tensor
    val: Tensor
    test: Tensor

    def part(self, name: str) -> Tensor:
        """The ids of the part `train`, `val` or `test`."""
        return {"train": self.train, "val": self.val, "test": self.test}[name]

    @classmethod
    def from_sizes(cls, train: int, val: int, test: int) -> Split:
        """Consecutive parts of a dataset whose parts are stored one after the other."""
        ids = torch.arange(train + val + test)
        return cls(ids[:train], ids[train : train + val], ids[train + val :])


def split_for(dataset: GraphDataset, protocol: ProtocolConfig, fold: int | None) -> Split:
    """The split of one trial: with protocol.name=kfold a fold, else the official split or, if there is none, a random
    60/20/20 split.

    It depends on `protocol.split_seed` and the fold, never on the seed of the trial. Raises ConfigError for a
    protocol or a fold that does not fit the dataset, DataError if the official or random split has an empty part.
    """
    if protocol.name == "kfold":
        return _fold_of(dataset, protocol, fold)
    if fold is not None:
        raise ConfigError.rule("protocol.folds", "be null for protocol.name=seeds", fold)
    split = dataset.official
    if split is None:
        split = _drawn(dataset, protocol.split_seed)
    for name in PARTS:
        if split.part(name).numel() == 0:
            raise DataError(f"{dataset.name}: the {name} part of the split is empty; training needs all of {PARTS}")
    return split


def _drawn(dataset: GraphDataset, seed: int) -> Split:
    """A random split of the members, or of whole graphs if nodes of several graphs are predicted."""
    if not dataset.is_node_task or dataset.num_graphs == 1:
        return random_split(dataset.y, dataset.strata, seed)
    node_counts = dataset.packed.node_ptr.diff()
    graphs = random_split(torch.zeros_like(node_counts), 0, seed)
    owner = torch.arange(dataset.num_graphs).repeat_interleave(node_counts)
    return Split(*(torch.isin(owner, graphs.part(name)).nonzero().squeeze(1) for name in PARTS))


def _fold_of(dataset: GraphDataset, protocol: ProtocolConfig, fold: int | None) -> Split:
    if dataset.folds:
        return _own_fold(dataset, protocol, fold)
    if dataset.is_node_task:
        raise ConfigError.rule("protocol.name", "be seeds for node tasks", protocol.name)
    if dataset.official is not None:
        raise ConfigError.rule("protocol.name", f"be seeds: {dataset.name} has an official split", protocol.name)
    if fold is None or not 0 <= fold < protocol.num_folds:
        raise ConfigError.rule("protocol.folds", f"list folds in 0..{protocol.num_folds - 1}", fold)
    return k_folds(dataset.y, dataset.strata, protocol.num_folds, fold, protocol.split_seed)


def _own_fold(dataset: GraphDataset, protocol: ProtocolConfig, fold: int | None) -> Split:
    """One of the dataset's own splits."""
    count = len(dataset.folds)
    if protocol.num_folds != count:
        rule = f"be {count}, the number of splits that {dataset.name} brings along"
        raise ConfigError.rule("protocol.num_folds", rule, protocol.num_folds)
    if fold is None or not 0 <= fold < count:
        raise ConfigError.rule("protocol.folds", f"list folds in 0..{count - 1}", fold)
    return dataset.folds[fold]


def k_folds(y: Tensor, num_classes: int, num_folds: int, fold: int, seed: int) -> Split:
    """Fold `fold` of `num_folds`: with scikit-learn's StratifiedKFold, or KFold if `num_classes` is 0.

    `y`: [n]. Raises ConfigError if there are fewer members, or members of a class, than folds.
    """
    if num_classes:
        return stratified_folds(y, num_folds, fold, seed)
    if len(y) < num_folds:
        raise ConfigError.rule("protocol.num_folds", f"be <= {len(y)}, the number of graphs", num_folds)
    from sklearn.model_selection import KFold

    folds = KFold(num_folds, shuffle=True, random_state=seed)
    return _rotate([test for _, test in folds.split(np.zeros(len(y)))], fold)


def stratified_folds(y: Tensor, num_folds: int, fold: int, seed: int) -> Split:
    """One fold of scikit-learn's `StratifiedKFold(num_folds, shuffle=True, random_state=seed)`.

    Test is fold `fold`, validation is the test part of fold - 1 (of the last fold for fold 0), training is the rest:
    the protocol of the Degree-Quant reference (PyG's kernel benchmark). `y`: int64 [n] classes. Raises ConfigError
    if a class has fewer members than there are folds.
    """
    members = torch.bincount(y)
    smallest = int(torch.where(members > 0, members, y.numel() + 1).argmin())
    if int(members[smallest]) < num_folds:
        rule = f"be <= {int(members[smallest])}, the number of members of class {smallest}"
        raise ConfigError.rule("protocol.num_folds", rule, num_folds)
    from sklearn.model_selection import StratifiedKFold

    folds = StratifiedKFold(num_folds, shuffle=True, random_state=seed)
    return _rotate([test for _, test in folds.split(np.zeros(y.numel()), y.numpy())], fold)


def _rotate(tests: list[np.ndarray], fold: int) -> Split:
    """The split with the test part `tests[fold]` and the validation part `tests[fold - 1]`."""
    test, val = tests[fold], tests[fold - 1]
    training = np.ones(sum(map(len, tests)), dtype=bool)
    training[test] = training[val] = False
    return Split(*(torch.from_numpy(ids.astype(np.int64)) for ids in (np.flatnonzero(training), val, test)))


def random_split(y: Tensor, num_classes: int, seed: int) -> Split:
    """A random split into 60 % training, 20 % validation and 20 % test, stratified by class if there are classes.

    The members are shuffled and sorted by class; of each five consecutive ones three, one and one go to the parts. So
    each part has its share of each class, to within one member. `y`: [n] or [n, L]; `num_classes`: 0 if there are no
    classes. Raises DataError for fewer than five members.
    """
    if len(y) < 5:
        raise DataError(f"a split into 60/20/20 % needs at least 5 members, got {len(y)}")
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(y)))
    if num_classes:
        order = order[torch.sort(y[order], stable=True).indices]
    turn = torch.arange(len(y)) % 5
    parts = (order[turn % 2 == 0], order[turn == 1], order[turn == 3])
    return Split(*(ids.sort().values for ids in parts))
