"""The network of a run, FP32 or fake-quantised, as `dqrun predict` runs it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dqrun import kernels
from dqrun.cli.verbs.exporting import fit_features
from dqrun.config import DatasetConfig, RunConfig
from dqrun.data.features import FeatureRule
from dqrun.graphs import Graph, dense, sparse_if_few
from dqrun.nn import GNN
from dqrun.nn.build import uses_self_loops
from dqrun.runs.model_file import load_features, load_model


@dataclass(frozen=True)
class NetworkPredictor:
    """A network in evaluation mode: everything quantised, nothing protected."""

    model: GNN
    config: RunConfig
    rule: FeatureRule

    @classmethod
    def load(cls, path: Path) -> NetworkPredictor:
        """Reads a run's model file; raises DataError for a damaged one."""
        model, config = load_model(path)
        return cls(model, config, load_features(path) or fit_features(path.parent, config))

    @property
    def trained_on(self) -> DatasetConfig:
        return self.config.dataset

    @property
    def self_loops(self) -> bool:
        return uses_self_loops(self.config.model)

    @property
    def graph_level(self) -> bool:
        return self.config.dataset.task != "node_classification"

    @torch.no_grad()
    def run(self, x: Tensor, graph: Graph, embeddings: bool) -> tuple[Tensor, Tensor | None]:
        """See `Predictor.run`. Features of few values pass as in training, so that the bits are the same."""
        with kernels.use(self.config.kernels):
            states = self.model.embed(x if self.graph_level else sparse_if_few(x), graph)
            logits = self.model.classify(states, graph)
        return logits, dense(states) if embeddings else None
