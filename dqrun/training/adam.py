"""torch's Adam without the import of `torch.compile`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

_add_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
_step = inspect.unwrap(torch.optim.Adam.step)


class Adam(torch.optim.Adam):
    """torch's Adam (Kingma and Ba, 2015): the same numbers in each step, but `torch.compile` cannot handle it.

    torch decorates these methods so that a compiler leaves them out. The decorators import the compiler, which takes
    over a second, as long as many trainings. This class calls the undecorated functions.
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As torch's."""
        _add_group(self, param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Sets all gradients to None, whatever `set_to_none` is."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """As torch's."""
        return _step(self, closure)
