"""Random streams of one trial: all derived from its seed, independent of each other."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch


def generator(seed: int, stream: int, device: str = "cpu") -> torch.Generator:
    """A generator for one use (`stream`) within a trial; numpy's SeedSequence keeps neighbouring seeds apart."""
    import numpy as np

    state = np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state >> np.uint64(1)))


SHUFFLE, PROTECTION, NOISE, NORMS, GRADIENTS = range(5)


@dataclass(frozen=True)
class Streams:
    """The random streams of one training: batch order, a method's draws per batch (protection), quantisation noise and
    the rounding of gradients that processes exchange. They are separate, so that all methods have the same batches."""

    shuffle: torch.Generator
    protection: torch.Generator
    noise: torch.Generator
    gradients: torch.Generator

    @classmethod
    def all_from(cls, generator: torch.Generator) -> Streams:
        """Streams that all draw from one generator."""
        return cls(**{field.name: generator for field in fields(cls)})

    @classmethod
    def of_seed(cls, seed: int, device: str = "cpu") -> Streams:
        """The streams of a trial: batches are shuffled and noise is seeded on the CPU, masks are drawn on `device`."""
        return cls(
            shuffle=generator(seed, SHUFFLE),
            protection=generator(seed, PROTECTION, device),
            noise=generator(seed, NOISE),
            gradients=generator(seed, GRADIENTS),
        )
