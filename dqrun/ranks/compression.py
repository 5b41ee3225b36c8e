"""Exchange of gradients between processes as codes of few bits, with unbiased stochastic rounding."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

BLOCK = 256
"""Neighbouring numbers that share a scale."""


Gathered = Callable[[Tensor], list[Tensor]]
"""Gives the tensors of all processes, by rank."""


def summed_codes(x: Tensor, bits: int, generator: torch.Generator, gathered: Gathered) -> Tensor:
    """The sum over processes of 1-d float32 tensors x of one length, each rounded to codes first.

    A block of 256 numbers has the scale max|x| / (2^(bits - 1) - 1), float32. A number is rounded up or down to a
    multiple of the scale, with probabilities for which the expected value is the number itself (QSGD: Alistarh et al.,
    NeurIPS 2017, with the maximum norm). All processes get all codes and scales and add them in the order of ranks, so
    that the result has the same bits everywhere. For each number a process sends 1 + 4/256 bytes to each other process;
    an exact sum of float32 in a ring of R processes sends 8 (R - 1) / R bytes.
    """
    codes, scales = encode(x, bits, generator)
    message = torch.cat([codes.view(torch.uint8), scales.view(torch.uint8)])
    total = torch.zeros_like(x)
    for each in gathered(message):
        told = each[: codes.numel()].view(torch.int8), each[codes.numel() :].clone().view(torch.float32)
        total += decode(*told)[: x.numel()]
    return total


def encode(x: Tensor, bits: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Codes, int8 [n rounded up to blocks], and a scale of each block, float32 [blocks]."""
    most = 2 ** (bits - 1) - 1
    blocks = torch.nn.functional.pad(x, (0, -x.numel() % BLOCK)).view(-1, BLOCK)
    scales = blocks.abs().amax(1) / most
    places = blocks / scales.clamp(min=torch.finfo(torch.float32).tiny).unsqueeze(1)
    drawn = torch.rand(places.shape, generator=generator)
    codes = (places + drawn.to(places.device)).floor().clamp(-most, most)
    return codes.to(torch.int8).flatten(), scales


def decode(codes: Tensor, scales: Tensor) -> Tensor:
    """The numbers that codes stand for, float32 of their length."""
    return (codes.view(-1, BLOCK).float() * scales.unsqueeze(1)).flatten()
