"""Bias correction: removes the change of each output's mean that rounding causes (Nagel et al., ICCV 2019)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dqrun.graphs import Batch
from dqrun.nn.layer import Layer
from dqrun.nn.linear import Linear
from dqrun.quant import Phase
from dqrun.quant.plan import set_phase


class OutputMean:
    """Measures the mean of a module's output before a ReLU, float64 [C], over all forward passes until `end`."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.total, self.count = module, torch.zeros((), dtype=torch.float64), 0
        self._relu = False
        self._handles = [
            module.register_forward_pre_hook(self._before, with_kwargs=True),
            module.register_forward_hook(self._after),
        ]

    def _before(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        self._relu = kwargs.get("relu", False)
        return args, kwargs | ({"relu": False} if self._relu else {})

    def _after(self, module: nn.Module, args: Any, output: Tensor) -> Tensor:
        self.total = self.total + output.double().sum(0)
        self.count += output.size(0)
        return output.relu() if self._relu else output

    def end(self) -> Tensor:
        """Removes the hooks and returns the mean."""
        for handle in self._handles:
            handle.remove()
        return self.total / max(1, self.count)


@torch.no_grad()
def correct_biases(model: nn.Module, batches: Iterable[Batch]) -> None:
    """Adds to each bias the mean of its layer's output in FP32 minus that in the quantised network, over all rows.

    Layers are corrected in their order in the network, each with the corrected layers before it. `model`: in
    `Phase.QUANTIZE`, with observed ranges; left in evaluation mode.
    """
    batches = list(batches)
    model.eval()
    biased = [module for module in model.modules() if isinstance(module, Layer | Linear) and _bias(module) is not None]
    set_phase(model, Phase.BYPASS)
    exact = _means(model, biased, batches)
    set_phase(model, Phase.QUANTIZE)
    for module, wanted in zip(biased, exact, strict=True):
        (given,) = _means(model, [module], batches)
        bias = _bias(module)
        assert bias is not None
        bias += (wanted - given).to(bias.dtype)


def _bias(module: nn.Module) -> Tensor | None:
    """The bias of a layer, which is added to its output last; None without one."""
    bias = getattr(module, "bias", None)
    return bias if isinstance(bias, nn.Parameter) else None


def _means(model: nn.Module, modules: Sequence[nn.Module], batches: list[Batch]) -> list[Tensor]:
    watched = [OutputMean(module) for module in modules]
    for batch in batches:
        model(batch.x, batch.graph)
    return [each.end() for each in watched]
