"""The network of a run, FP32 or fake-quantised, as a predictor for `dqrun predict`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from dqrun.config import DatasetConfig
from dqrun.data.features import FeatureRule
from dqrun.errors import ConfigError
from dqrun.graphs import Graph, dense
from dqrun.nn.user import UserNetwork
from dqrun.runs.network import TrainedNetwork


@dataclass(frozen=True)
class NetworkPredictor:
    """A network in evaluation mode: without protected nodes."""

    network: TrainedNetwork

    @classmethod
    def load(cls, path: Path) -> NetworkPredictor:
        """Reads a run's model file; raises DataError for a damaged one."""
        return cls(TrainedNetwork.load(path))

    @property
    def trained_on(self) -> DatasetConfig:
        return self.network.config.dataset

    @property
    def rule(self) -> FeatureRule:
        return self.network.rule

    @property
    def self_loops(self) -> bool:
        return self.network.self_loops

    @property
    def graph_level(self) -> bool:
        return self.network.graph_level

    def with_epilogue(self, epilogue: str) -> NoReturn:
        """Raises ConfigError: only programs have rules of requantisation."""
        raise ConfigError.rule("--epilogue", "be given with the file of a program alone", epilogue)

    @torch.no_grad()
    def run(self, x: Tensor, graph: Graph, embeddings: bool) -> tuple[Tensor, Tensor | None]:
        """See `Predictor.run`; raises ConfigError for embeddings of a user's whole network."""
        if embeddings and isinstance(self.network.network, UserNetwork):
            raise ConfigError(
                f"--embeddings must not be given for model={self.network.network.name}: dqrun sees its logits"
            )
        states = self.network.embed(x, graph)
        return self.network.classify(states, graph), dense(states) if embeddings else None
