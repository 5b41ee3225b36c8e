"""`cpu`: the functions of `dqrun.kernels` in their compiled version, to stand beside `dqrun.kernels.reference`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dqrun import kernels
from dqrun.kernels.ops import dense


class Compiled:
    """As `dqrun.kernels`; fails where the compiled version does, or does not run."""

    def __getattr__(self, name: str) -> Any:
        def run(*args: Any, **options: Any) -> Any:
            with kernels.use("cpu"), kernels.ran() as ran:
                result = dropout(*args) if name == "dropout" else getattr(kernels, name)(*args, **options)
            assert ran.name == "cpu", f"{name}: {ran.name or 'no operator'} ran"
            return result

        return run


def dropout(x: Tensor, p: float, low: int, high: int) -> Tensor:
    """With a seed, as `reference.dropout` takes it."""
    result: Tensor = dense.dropout(x, p, torch.tensor([low, high]))
    return result


cpu = Compiled()
