"""Random streams."""

import torch

from dqrun.training.seeding import NOISE, PROTECTION, SHUFFLE, generator


def test_streams_are_reproducible_and_apart() -> None:
    draws = {
        (seed, stream): torch.rand(4, generator=generator(seed, stream)).tolist()
        for seed in (0, 1, 2)
        for stream in (SHUFFLE, PROTECTION, NOISE)
    }
    assert draws[0, SHUFFLE] == torch.rand(4, generator=generator(0, SHUFFLE)).tolist()
    assert len({tuple(values) for values in draws.values()}) == len(draws)
