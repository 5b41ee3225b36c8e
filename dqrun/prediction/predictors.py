"""Predictors of `dqrun predict` and `dqrun bench inference`: an integer program, or the network of a run.

For a program neither Hydra nor training code is imported.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from dqrun.config import DatasetConfig
from dqrun.config.tasks import is_node_task
from dqrun.data.features import KINDS, FeatureRule
from dqrun.errors import ConfigError, DataError, DqrunError
from dqrun.graphs import Graph
from dqrun.integer import Program, load_program
from dqrun.paths import user_path
from dqrun.runs.folders import NETWORK, find_network
from dqrun.runs.records import check_types

SUFFIX = ".dqp"


class Predictor(Protocol):
    """A trained network for predictions on new graphs."""

    @property
    def trained_on(self) -> DatasetConfig:
        """The dataset of its training."""

    @property
    def rule(self) -> FeatureRule:
        """The rule that computes its input features."""

    @property
    def self_loops(self) -> bool:
        """Whether its layers run over one self-loop per node."""

    @property
    def graph_level(self) -> bool:
        """Whether its result has a row per graph; otherwise per node."""

    def with_epilogue(self, epilogue: str) -> Predictor:
        """The same predictor with this rule of requantisation.

        Raises ConfigError for a network, an unknown rule, and an operation without this rule.
        """

    def run(self, x: Tensor, graph: Graph, embeddings: bool) -> tuple[Tensor, Tensor | None]:
        """Logits, float32 [G or N, C], and with `embeddings` the embeddings, float32 [G or N, H], else None."""


@dataclass(frozen=True)
class ProgramPredictor:
    """An integer program with the dataset and the feature rule from its file."""

    program: Program
    trained_on: DatasetConfig
    rule: FeatureRule

    @classmethod
    def load(cls, path: Path) -> ProgramPredictor:
        """Reads a program file; raises DataError for a damaged file, and for one without a feature rule."""
        program = load_program(path)
        dataset, features = (program.origin.get(name) for name in ("dataset", "features"))
        if dataset is None or features is None:
            raise DataError(f"{path} does not say how features are made: dqrun export writes one that does")
        trained_on = DatasetConfig(**_record(path, "dataset", DatasetConfig, dataset))
        rule = FeatureRule(**_record(path, "features", FeatureRule, features))
        try:
            trained_on.validate()
        except ConfigError as error:
            raise DataError(f"{path} is a damaged program file ({error})") from None
        if is_node_task(trained_on.task) == program.signature.graph_level:
            raise DataError(f"{path} is a damaged program file (origin.dataset.task: {trained_on.task})")
        if rule.kind not in KINDS or not rule.divisor:
            raise DataError(f"{path} is a damaged program file (origin.features: {rule})")
        return cls(program, trained_on, rule)

    @property
    def self_loops(self) -> bool:
        return self.program.self_loops

    @property
    def graph_level(self) -> bool:
        return self.program.signature.graph_level

    def with_epilogue(self, epilogue: str) -> ProgramPredictor:
        return replace(self, program=self.program.with_epilogue(epilogue))

    def run(self, x: Tensor, graph: Graph, embeddings: bool) -> tuple[Tensor, None]:
        """See `Predictor.run`; raises ConfigError if embeddings are asked for, DataError if x does not fit."""
        if embeddings:
            raise ConfigError("--embeddings needs a run with its network: a program has codes where that has states")
        self.program.check_features(x)
        return self.program.run(x, graph), None


def load_predictor(word: str, results: Path) -> Predictor:
    """Loads a program from a file, or the network of a run by its name or folder.

    Raises ResultsError if there is neither, DataError for a damaged file.
    """
    path = user_path(word)
    if path.suffix == SUFFIX or os.path.isfile(path):
        return ProgramPredictor.load(path)
    try:
        folder = find_network(word, results)
    except DqrunError as error:
        raise type(error)(f"{error}; a program's file ends in {SUFFIX}") from None
    from dqrun.prediction.networks import NetworkPredictor  # imports networks and quantisers

    return NetworkPredictor.load(folder / NETWORK)


def _record(path: Path, name: str, record: type, values: Any) -> dict[str, Any]:
    try:
        return check_types(record, values)
    except ValueError as error:
        raise DataError(f"{path} is a damaged program file (origin.{name}: {error})") from None
