"""`Beginning`: the initial state of a training, for a stage that starts again from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dqrun.quant.point import matches
from dqrun.training.seeding import Streams


@dataclass(frozen=True)
class Beginning:
    """Parameters, buffers and random streams of a training before its first epoch.

    A training that continues from a checkpoint records it before the checkpoint is read: the seed reproduces it.
    """

    state: dict[str, Tensor]
    streams: dict[str, Tensor]
    torch_random: Tensor
    cuda_random: Tensor | None

    @classmethod
    def of(cls, model: nn.Module, streams: Streams) -> Beginning:
        """The present state, copied."""
        state = {name: value.detach().clone() for name, value in model.state_dict().items()}
        drawn = {name: generator.get_state() for name, generator in vars(streams).items()}
        on_gpu = any(value.is_cuda for value in state.values())
        return cls(state, drawn, torch.get_rng_state(), torch.cuda.get_rng_state() if on_gpu else None)

    def restore(self, model: nn.Module, streams: Streams, kept: Sequence[str]) -> None:
        """Returns to it, apart from the parameters and buffers that globs of `kept` name."""
        returns = {name: value for name, value in self.state.items() if not any(matches(name, glob) for glob in kept)}
        model.load_state_dict(returns, strict=False)
        for name, generator in vars(streams).items():
            generator.set_state(self.streams[name])
        torch.set_rng_state(self.torch_random)
        if self.cuda_random is not None:
            torch.cuda.set_rng_state(self.cuda_random)
