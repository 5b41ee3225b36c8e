"""Passes over data without training: ranges (`calibrate`) and statistics of batch norms (`reestimate_norms`)."""

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

    With `problem.norm_batch`, batch norms then get statistics of the quantised network. Leaves `model` in evaluation
    mode.
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
    """Sets each batch norm to the mean and the variance (divided by N) of its input for `batch` in evaluation mode.

    Each norm's statistics are set before it normalises, so that the next norm gets the same input as in evaluation: a
    second pass of the same batch gives the same bits.

    Running averages come from training, where preceding norms used the statistics of each batch. In evaluation those
    norms use fixed statistics, and their outputs differ slightly; with few bits the codes of later layers change.
    Batch-norm re-estimation: Wu and Johnson 2021 (arXiv 2105.07576), Nagel et al., ICML 2022.
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
