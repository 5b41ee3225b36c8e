"""Random streams of one trial, all from its seed, each independent of the others."""

from __future__ import annotations

import torch


def generator(seed: int, stream: int, device: str = "cpu") -> torch.Generator:
    """A generator for one use (`stream`) within a trial; numpy's SeedSequence keeps neighbouring seeds apart."""
    import numpy as np

    state = np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state >> np.uint64(1)))


SHUFFLE, PROTECTION, NOISE, NORMS = range(4)
