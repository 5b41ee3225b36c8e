"""Sums in a fixed order: the bits follow from the source, not from how a compiler groups terms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dqrun import kernels
from dqrun.graphs import CSR
from dqrun.kernels.cpu.lanes import LANES, MOST

SIZES = [*range(1, 2 * LANES + 2), 127, 128, 129, 1000]


def in_order(terms: NDArray[Any]) -> NDArray[Any]:
    """The sum over the last axis, float32, in the order that `lanes.sum_of` documents."""
    total = np.zeros(terms.shape[:-1], np.float32)
    for start in range(0, terms.shape[-1], MOST):
        part = terms[..., start : start + MOST]
        padding = [(0, 0)] * (part.ndim - 1) + [(0, -part.shape[-1] % LANES)]
        lanes = np.zeros((*part.shape[:-1], LANES), np.float32)
        for block in np.moveaxis(np.pad(part, padding).reshape(*part.shape[:-1], -1, LANES), -2, 0):
            lanes = lanes + block
        while lanes.shape[-1] > 1:
            lanes = lanes[..., : lanes.shape[-1] // 2] + lanes[..., lanes.shape[-1] // 2 :]
        total = total + lanes[..., 0]
    return total


def chain(channels: int) -> tuple[CSR, Any, Any, Any]:
    """Edges, features, weights and a gradient, random."""
    generator = torch.Generator().manual_seed(channels)
    csr = CSR.from_edge_index(torch.randint(9, (2, 30), generator=generator), 9)
    x, direction = (torch.randn(9, channels, generator=generator) for _ in range(2))
    return csr, x, torch.rand(30, generator=generator).requires_grad_(), direction


@pytest.mark.parametrize("channels", SIZES)
def test_gradient_of_weights_of_edges(channels: int) -> None:
    csr, x, weight, direction = chain(channels)
    with kernels.use("cpu"):
        kernels.spmm(csr, x, weight).backward(direction)
    terms = direction[csr.row].numpy() * x[csr.col].numpy()
    assert np.array_equal(weight.grad.numpy(), in_order(terms))


@pytest.mark.parametrize("noise", [None, kernels.Noise(1.0, 3, 4)], ids=["all", "chosen"])
@pytest.mark.parametrize("channels", SIZES)
def test_gradient_of_weights_of_rounded_messages(channels: int, noise: kernels.Noise | None) -> None:
    csr, x, weight, direction = chain(channels)
    scale, zero_point = torch.tensor(0.09), torch.tensor(1, dtype=torch.int32)
    with kernels.use("cpu"):
        kernels.spmm_quantized(csr, x, weight, scale, zero_point, -8, 7, None, "clipped", noise).backward(direction)
    code = torch.round(weight.detach()[:, None] * x[csr.col] * (1 / scale)) + zero_point
    passing = ((code >= -8) & (code <= 7)).numpy()
    assert passing.any() and not passing.all()
    terms = np.where(passing, direction[csr.row].numpy() * x[csr.col].numpy(), np.float32(0))
    assert np.array_equal(weight.grad.numpy(), in_order(terms))


@pytest.mark.parametrize("size", [1, 7, 31, 33, 100, 2047, 2048, 2049, 5000])
def test_gradient_of_a_scale(size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    x, direction = (torch.randn(size, 1, generator=generator) for _ in range(2))
    scale, zero_point = torch.tensor(0.2, requires_grad=True), torch.tensor(0, dtype=torch.int32)
    with kernels.use("cpu"):
        kernels.fake_quantize(x, scale, zero_point, -8, 7).backward(direction)
    place = x * (1 / scale.detach())
    inside = (place > -8) & (place < 7)
    slope = torch.round(place).clamp(-8, 7) - torch.where(inside, place, 0.0)
    terms = (direction * slope).numpy()[:, 0]
    blocks = [np.float64(in_order(terms[i : i + 2048])) for i in range(0, size, 2048)]
    assert scale.grad is not None and scale.grad.item() == np.float32(sum(blocks))
