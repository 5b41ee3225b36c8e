"""Passes over data that train nothing: ranges (`calibrate`) and statistics of batch norms (`reestimate_norms`)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from dqrun.graphs import Batch
from dqrun.quant import Phase
from dqrun.quant.plan import set_phase
from dqrun.training.problem import Problem


@torch.no_grad()
def calibrate(model: nn.Module, problem: Problem, batches: Iterable[Batch] | None = None) -> None:
    """Lets all quantisers observe FP32 activations of the training data, or of `batches`, then sets them to quantise.

    Batch norms whose statistics are estimated get those of the quantised network.
    """
    model.eval()
    set_phase(model, Phase.CALIBRATE)
    for batch in problem.ordered() if batches is None else batches:
        model(batch.x, batch.graph)
    set_phase(model, Phase.QUANTIZE)
    if problem.norm_batch is not None:
        reestimate_norms(model, problem.norm_batch)


@torch.no_grad()
def reestimate_norms(model: nn.Module, batch: Batch) -> None:
    """Gives each batch norm the mean and the variance (divided by N) of its input when `batch` passes as in evaluation.

    Each norm takes its statistics before it normalises, so that the next one sees what evaluation will give it: a
    second pass of the same batch has the same bits.

    Running averages come from training, where preceding norms used the statistics of each batch. In evaluation they use
    fixed ones, and their outputs are a little different; at few bits that flips codes, layer after layer. Batch-norm
    re-estimation: Wu and Johnson 2021 (arXiv 2105.07576), Nagel et al., ICML 2022.
    """
    model.eval()
    norms = (module for module in model.modules() if isinstance(module, nn.BatchNorm1d))
    hooks = [norm.register_forward_pre_hook(_take_statistics) for norm in norms]
    try:
        model(batch.x, batch.graph)
    finally:
        for hook in hooks:
            hook.remove()


def _take_statistics(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    assert isinstance(norm.running_mean, Tensor) and isinstance(norm.running_var, Tensor)
    variance, mean = torch.var_mean(inputs[0], dim=0, correction=0)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
