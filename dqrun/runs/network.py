"""The network of a run as a module that takes PyG's tensors."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from dqrun import kernels
from dqrun.config import DataConfig, RunConfig
from dqrun.config.tasks import is_node_task
from dqrun.data.features import FeatureRule
from dqrun.data.splits import split_for
from dqrun.data.stored import load_stored
from dqrun.errors import DataError
from dqrun.graphs import Graph, Rows, sparse_if_few
from dqrun.graphs.pyg import build_graph
from dqrun.nn import GNN
from dqrun.nn.build import reads_edge_features, reads_edge_weights, uses_self_loops
from dqrun.runs.model_file import load_features, load_model
from dqrun.runs.records import read_json
from dqrun.runs.row import check_row


class TrainedNetwork(nn.Module):
    """A trained network, FP32 or fake-quantised, in evaluation mode; `dqrun predict` runs it too.

    `network`: encoder, layers and head. `config`: the run's configuration. `rule`: how features are made.
    """

    def __init__(self, network: GNN, config: RunConfig, rule: FeatureRule) -> None:
        super().__init__()
        self.network, self.config, self.rule = network, config, rule
        self.eval()

    @classmethod
    def load(cls, path: Path) -> TrainedNetwork:
        """Reads a run's model file, which runs no code; raises DataError for a damaged one."""
        network, config = load_model(path)
        return cls(network, config, load_features(path) or fit_features(path.parent, config))

    @property
    def self_loops(self) -> bool:
        """Whether its layers need one self-loop per node."""
        return uses_self_loops(self.config.model)

    @property
    def graph_level(self) -> bool:
        """Whether its output has a row per graph, else per node."""
        return not is_node_task(self.config.dataset.task)

    def forward(
        self,
        x: Tensor | None,
        edge_index: Tensor,
        batch: Tensor | None = None,
        edge_weight: Tensor | None = None,
        edge_attr: Tensor | None = None,
        num_nodes: int | None = None,
    ) -> Tensor:
        """Logits, float32 [N, C], or [G, C] of a graph task, from PyG's tensors on one device.

        x: the dataset's own features, before dqrun prepares them: float32 [N, F]; int64 [N] or [N, 1] for categories;
        int64 [N, K] for columns of categories; or None if features are degrees. In the last case `num_nodes` is N, or
        if that is None the largest node id plus one. edge_index: int64 [2, E], raw edges; self-loops are added if the
        network needs them. batch: int64 [N], the graph of each node in ascending order; None: one graph. edge_weight:
        float32 [E], edge_attr: float32 [E, D] or int64 [E] or [E, K], as in the training data, if the network reads
        them. Raises DataError for input that does not fit.
        """
        edge_attr = self._checked_edge_data(edge_weight, edge_attr)
        count = _num_nodes(x, edge_index, batch) if num_nodes is None else num_nodes
        graph = build_graph(edge_index, count, batch, self.self_loops, edge_weight, edge_attr)
        return self.classify(self.embed(self.features(x, edge_index, count), graph), graph)

    def _checked_edge_data(self, edge_weight: Tensor | None, edge_attr: Tensor | None) -> Tensor | None:
        """The edge features in the form that layers read; raises DataError for edge data that do not fit."""
        rule = self.rule
        reads = {"edge_weight": rule.edge_weights, "edge_attr": bool(rule.edge_channels or rule.edge_categories)}
        for name, values in (("edge_weight", edge_weight), ("edge_attr", edge_attr)):
            if reads[name] != (values is not None):
                raise DataError(f"{name} must be {'given' if reads[name] else 'None'}: see the training data")
        if edge_attr is None or rule.edge_columns:
            return rule.edge_inputs(edge_attr, "edge_attr")
        rule_of = f"{rule.edge_categories} categories" if rule.edge_categories else f"[E, {rule.edge_channels}]"
        fits = edge_attr.dim() == 1 if rule.edge_categories else edge_attr.shape[1:] == (rule.edge_channels,)
        if not fits or (rule.edge_categories and edge_attr.numel() and int(edge_attr.max()) >= rule.edge_categories):
            raise DataError(f"edge_attr must be of {rule_of}, as in training, got {list(edge_attr.shape)}")
        return edge_attr

    def features(self, x: Tensor | None, edge_index: Tensor, num_nodes: int) -> Tensor:
        """The input of the network: float32 [N, in_channels], or int64 [N] for categories."""
        if x is not None and self.rule.from_degrees:
            rule = "be None: the features of this network are degrees; num_nodes= says how many nodes there are"
            raise DataError(f"x must {rule}, got {list(x.shape)}")
        source, target = edge_index
        degree = torch.bincount(target[source != target], minlength=num_nodes)
        is_given = x is not None and x.is_floating_point()
        category = None if is_given or x is None else x
        if category is not None and not self.rule.columns:
            category = category.reshape(num_nodes) if category.numel() == num_nodes else None
        found = self.rule.of(degree, x if is_given else None, category, "x")
        return found.gather(torch.arange(num_nodes, device=edge_index.device))

    def embed(self, x: Tensor, graph: Graph) -> Rows:
        """The embeddings from which logits are computed. Features are made sparse as in training, for the same bits."""
        sparse = not self.graph_level and not x.requires_grad
        with kernels.use(self.config.kernels):
            return self.network.embed(sparse_if_few(x) if sparse else x, graph)

    def classify(self, states: Rows, graph: Graph) -> Tensor:
        """Logits from the result of `embed`."""
        with kernels.use(self.config.kernels):
            return self.network.classify(states, graph)


def fit_features(folder: Path, config: RunConfig) -> FeatureRule:
    """The feature rule for a network whose file has none, from its training data; raises DataError without a row."""
    dataset = load_stored(config.dataset, DataConfig())
    rule = FeatureRule.fit(dataset, split_for(dataset, config.protocol, fold_of(folder)), config.dataset)
    return rule.reading(reads_edge_weights(config.model), reads_edge_features(config.model))


def fold_of(folder: Path) -> int | None:
    """The fold of a run, from its row; raises DataError without a row."""
    try:
        fold: int | None = check_row(read_json(folder / "row.json"))["fold"]
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / 'row.json'} must name the fold of the trial ({error})") from None
    return fold


def _num_nodes(x: Tensor | None, edge_index: Tensor, batch: Tensor | None) -> int:
    if x is not None or batch is not None:
        rows = batch if x is None else x
        assert rows is not None
        return rows.size(0)
    return int(edge_index.max()) + 1 if edge_index.numel() else 0
