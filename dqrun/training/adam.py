"""Adam of torch, for training that nothing compiles."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

_add_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
_step = inspect.unwrap(torch.optim.Adam.step)


class Adam(torch.optim.Adam):
    """torch's Adam (Kingma and Ba, 2015), step by step the same numbers, without what `torch.compile` needs of it.

    torch decorates these methods so that a compiler leaves them out. The decorators import the compiler, which takes
    over a second, as long as many a training. The functions below the decorators are called here.
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As torch's."""
        _add_group(self, param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets all gradients; they are never zeros."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """As torch's."""
        return _step(self, closure)
