"""A site where no value was observed ends the trial with one line that names the site and says why."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dqrun.composition.compose import load_configs
from dqrun.errors import TrialFailed
from dqrun.graphs import CSR, Batch, Graph
from dqrun.nn import GNN
from dqrun.nn.build import build_model
from dqrun.quant import Phase
from dqrun.quant.plan import set_phase
from dqrun.training.passes import calibrate
from dqrun.training.problem import Problem
from dqrun.training.tasks import Task

NUM_NODES = 6


def graph(edges: Tensor) -> Graph:
    return Graph(
        CSR.from_edge_index(edges, NUM_NODES),
        torch.tensor([0, 3, NUM_NODES]),
        torch.tensor([0, 0, 0, 1, 1, 1]),
        torch.ones(NUM_NODES),
    )


NO_EDGES = graph(torch.empty(2, 0, dtype=torch.int64))
LOOPS = graph(torch.arange(NUM_NODES).expand(2, -1))
ALL_PROTECTED = torch.ones(1, NUM_NODES, dtype=torch.bool)


def network(*words: str) -> GNN:
    torch.manual_seed(0)
    return build_model(load_configs(list(words))[0], 2, 0, 2, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("words", "seen", "message"),
    [
        ("model=gin method=naive", NO_EDGES, "layers.0.message .*: no .* because no edge carried one"),
        ("model=gin method=noisy", NO_EDGES, "layers.0.message .*because no edge carried one"),
        (
            "model=gin method=naive method.learned_scale=true",
            NO_EDGES,
            "layers.0.message .*because no edge carried one",
        ),
        (
            "model=gin method=dq",
            NO_EDGES.with_protection_masks(ALL_PROTECTED),
            "layers.0.message .*because no edge left an unprotected node",
        ),
        (
            "model=gcn method=dq",
            LOOPS.with_protection_masks(ALL_PROTECTED),
            "layers.0.input .*because every row was protected",
        ),
        (
            "model=gat method=dq",
            LOOPS.with_protection_masks(ALL_PROTECTED),
            "layers.0.input .*because every row was protected",
        ),
    ],
)
def test_training(words: str, seen: Graph, message: str) -> None:
    model, x = network(*words.split()), torch.randn(NUM_NODES, 2)
    model.train()(x, seen)
    with pytest.raises(TrialFailed, match=rf"^{message}$"):
        model.eval()(x, LOOPS)


def test_weighted_messages_of_protected_nodes() -> None:
    model = network("model=gcn", "method=dq", "plan.fp32=['**.input','**.features']")
    model.train()(torch.randn(NUM_NODES, 2), LOOPS.with_protection_masks(ALL_PROTECTED))
    with pytest.raises(TrialFailed, match=r"^layers\.0\.message .*because no edge left an unprotected node$"):
        model.eval()(torch.randn(NUM_NODES, 2), LOOPS)


def test_calibration() -> None:
    model, x = network("model=gin", "method=ptq"), torch.randn(NUM_NODES, 2)
    set_phase(model, Phase.BYPASS)
    model.train()(x, NO_EDGES)
    batches = [Batch(NO_EDGES, x, torch.zeros(2, dtype=torch.int64))]
    calibrate(model, Problem(Task("graph_classification"), lambda generator: batches, lambda: batches, lambda: batches))
    with pytest.raises(TrialFailed, match=r"^layers\.0\.message .*because no edge carried one$"):
        model.eval()(x, LOOPS)


def test_an_empty_tensor() -> None:
    model = network("model=gcn", "method=naive")
    model.train().layers[0].sites.input(torch.empty(0, 2))
    with pytest.raises(TrialFailed, match=r"^layers\.0\.input .*because its tensor was empty$"):
        model.eval()(torch.randn(NUM_NODES, 2), LOOPS)
