"""`Subject`: what `dqrun bench inference FILE|RUN` measures: a program and, if known, its network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dqrun.config import ModelConfig
from dqrun.errors import ConfigError
from dqrun.integer import Program
from dqrun.integer.lower import lower
from dqrun.nn import GNN
from dqrun.nn.build import build_network, is_whole
from dqrun.prediction.networks import NetworkPredictor
from dqrun.prediction.predictors import Predictor, ProgramPredictor, load_predictor
from dqrun.runs.records import check_types

LARGEST_RATIO = 1000
"""Largest ratio of hidden weights to bytes of a program; a file with a larger network is not from dqrun export."""


@dataclass(frozen=True)
class Subject:
    """A program and its network in FP32; without that network, `without` has the reason.

    `run`: the name of its run, or "". `quant`: the width for tables. `weights`: the origin of the FP32 network's
    weights, "the run's" or "random".
    """

    predictor: Predictor
    program: Program
    run: str
    quant: str
    model: str
    config: ModelConfig | None
    fp32: GNN | None
    weights: str
    without: str

    @classmethod
    def load(cls, word: str, results: Path) -> Subject:
        """The file or the run that a word names.

        Raises ResultsError if there is neither, DataError for a damaged file, ConfigError for a run whose network
        has no program.
        """
        predictor = load_predictor(word, results)
        if isinstance(predictor, NetworkPredictor):
            return cls._of_run(predictor, Path(word).name)
        assert isinstance(predictor, ProgramPredictor)
        return cls._of_file(predictor)

    @classmethod
    def _of_run(cls, predictor: NetworkPredictor, run: str) -> Subject:
        trained = predictor.network
        config, program = trained.config, lower(trained.network)
        fp32 = None if is_whole(config.model) else network(config.model, program)
        if fp32 is not None:
            weights = trained.network.state_dict()
            fp32.load_state_dict({name: weights[name] for name in fp32.state_dict()})
        without = "" if fp32 is not None else f"the layers of model={config.model.name} are not dqrun's"
        names = (run, config.quant.label, config.model.name)
        return cls(predictor, program, *names, config.model, fp32, "the run's", without)

    @classmethod
    def _of_file(cls, predictor: ProgramPredictor) -> Subject:
        program, origin = predictor.program, predictor.program.origin
        config, without = None, ""
        try:
            config = model_of(origin)
            fp32 = network(config, program)
        except (ValueError, ConfigError) as error:
            fp32, without = None, f"the file does not say which network it is ({error})"
        names = (str(origin.get("run", "")), str(origin.get("quant", "program")))
        model = "" if config is None else config.name
        return cls(predictor, program, *names, model, config, fp32, "random", without)


def model_of(origin: dict[str, Any]) -> ModelConfig:
    """The network in the origin of a program's file; raises ValueError if there is none or dqrun does not have it.

    Raises ConfigError for values that break a rule.
    """
    if "model" not in origin:
        raise ValueError("dqrun export writes one that does")
    config = ModelConfig(**check_types(ModelConfig, origin["model"]))
    config.validate()
    if is_whole(config):
        raise ValueError(f"the layers of model={config.name} are not dqrun's")
    return config


def network(config: ModelConfig, program: Program) -> GNN:
    """The network in FP32 with random weights, in evaluation mode; raises ValueError if it is far too large."""
    if config.layers * config.mlp_layers * config.hidden**2 > LARGEST_RATIO * (program.nbytes + config.hidden):
        raise ValueError("its network is much larger than the program")
    signature = program.signature
    sizes = signature.in_channels, signature.num_categories, signature.out_channels
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_network(config, *sizes, signature.graph_level).eval()
