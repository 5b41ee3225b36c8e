"""`dqrun.lower`: the integer program of a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dqrun.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

    from dqrun.integer import Program


def lower(model: nn.Module) -> Program:
    """The integer program of a trained network: `program(x, edge_index, batch)` computes with integers.

    `model`: from `load_model`, of a run with `plan=integer`, or from `quantize(..., plan="integer")`. The latter must
    be a chain: convolutions and linear layers, each with the result of the one before as its input; between them batch
    norms, ReLU or ELU, dropout; and pooling by a module of `torch_geometric.nn.aggr` (sum, mean, max). The input of a
    program from `load_model` is the result of that network's `features(x, edge_index, num_nodes)`.

    Raises ConfigError, in one line with the operation or the site, for a network that can't be lowered.
    """
    from dqrun.integer.lower import ProgramLowering
    from dqrun.integer.lower import lower as lower_network
    from dqrun.integer.program import Program
    from dqrun.integer.sites import TrainedSites
    from dqrun.nn import GNN
    from dqrun.nn.user import UserNetwork
    from dqrun.runs.network import TrainedNetwork
    from dqrun.swap import Swapped
    from dqrun.swap.lowering import lower_swapped

    network = model.network if isinstance(model, TrainedNetwork) else model
    if isinstance(network, UserNetwork):
        network = network.network
    elif isinstance(network, GNN):
        return lower_network(network)
    swapped = getattr(network, "__dict__", {}).get("_dqrun_swapped")
    if not isinstance(swapped, Swapped):
        raise ConfigError.rule("model", "be a network of dqrun.load_model or dqrun.quantize", type(model).__name__)
    lowering = ProgramLowering(TrainedSites(swapped.view))
    self_loops = lower_swapped(swapped, lowering)
    lowering.sites.require_no_others()
    return Program(tuple(lowering.operations), self_loops)
