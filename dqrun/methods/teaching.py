"""Distillation: losses that train a quantised network towards the FP32 network from which its training started."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from dqrun.config.rules import require

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dqrun.graphs import Batch
    from dqrun.methods.binary_config import TeacherConfig


SMALLEST = 1e-12


class Teaching:
    """The teacher, an FP32 network in evaluation mode, and the terms of the loss that compare with it.

    The teacher is a copy of the network before its first step, with quantisers in `Phase.BYPASS`; after a warm start it
    is the chosen network of the FP32 trial of the same seed. A training that continues from a checkpoint makes the same
    copy again.
    """

    def __init__(self, config: TeacherConfig) -> None:
        self.config = config
        self._teacher: nn.Module | None = None
        self._states: dict[str, Tensor] = {}

    def begin(self, model: nn.Module) -> None:
        """Copies the network, if a term of the loss needs a teacher.

        Raises ConfigError if `method.teacher.structure` > 0 and the network has no node states.
        """
        if not self.config.teaches:
            return
        from dqrun.quant import Phase
        from dqrun.quant.plan import set_phase

        self._teacher = copy.deepcopy(model).eval().requires_grad_(False)
        set_phase(self._teacher, Phase.BYPASS)
        if self.config.structure:
            for name, network in (("student", model), ("teacher", self._teacher)):
                self._watch(name, network)

    def loss(self, batch: Batch, logits: Tensor) -> Tensor | None:
        """The distillation loss of a step with these logits, over all rows of the batch: 0-d; None without teacher."""
        if self._teacher is None:
            return None
        import torch

        with torch.no_grad():
            told = self._teacher(batch.x, batch.graph)
        parts = []
        if self.config.logits:
            parts.append(self.config.logits * prediction_divergence(logits, told, self.config.temperature))
        if self.config.structure:
            own, others = self._states["student"], self._states["teacher"]
            parts.append(self.config.structure * structure_divergence(own, others, batch.graph))
        return sum(parts[1:], start=parts[0])

    def _watch(self, name: str, network: Any) -> None:
        states: Any = getattr(network, "states", None)
        rule = "be 0 for a network whose layers dqrun has swapped"
        require(states is not None, "method.teacher.structure", rule, self.config.structure)

        def keep(module: nn.Module, arguments: Any, output: Tensor) -> None:
            self._states[name] = output

        states[-1].register_forward_hook(keep)


def prediction_divergence(logits: Tensor, told: Tensor, temperature: float) -> Tensor:
    """T^2 KL(softmax(told / T) || softmax(logits / T)), the mean over rows (Hinton et al. 2015); for C = 1 the mean
    squared difference. `logits` (student) and `told` (teacher): float32 [N, C]."""
    import torch.nn.functional as F

    if logits.size(-1) == 1:
        return F.mse_loss(logits, told)
    own, other = (F.log_softmax(each / temperature, -1) for each in (logits, told))
    return temperature**2 * F.kl_div(own, other, reduction="batchmean", log_target=True)


def structure_divergence(states: Tensor, told: Tensor, graph: Any) -> Tensor:
    """KL divergence of the local structure of two node tensors [N, F], the mean over nodes with neighbours.

    The local structure of a node is the softmax, over the edges that enter it, of exp(-|x_i - x_j|^2 / 2) (local
    structure preserving loss, Yang et al., CVPR 2020, eq. 3 and 4, with the radial basis function).
    """
    from dqrun import kernels

    own, other = (kernels.edge_softmax(graph.csr, similarity(each, graph)) for each in (states, told))
    other = other.detach()
    nodes = (graph.csr.in_degree > 0).sum().clamp(min=1)
    apart = other.clamp(min=SMALLEST).log() - own.clamp(min=SMALLEST).log()
    total: Tensor = (other * apart).sum() / nodes
    return total


def similarity(x: Tensor, graph: Any) -> Tensor:
    """exp(-|x_i - x_j|^2 / 2) of the two ends of each edge, float32 [E, 1], with rows of x [N, F] scaled to norm 1."""
    from torch.nn.functional import normalize

    x = normalize(x, dim=-1)
    between = x[graph.csr.col] - x[graph.csr.row]
    made: Tensor = (-between.square().sum(-1, keepdim=True) / 2).exp()
    return made
