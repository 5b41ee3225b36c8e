"""Batch norms as a float32 factor and offset per channel."""

from __future__ import annotations

import torch
from torch import nn

from dqrun.integer.batch_norm import affine
from dqrun.nn.linear import BatchNorm


def some_norm(seed: int) -> BatchNorm:
    """A batch norm in evaluation with random parameters and statistics of 6 channels."""
    torch.manual_seed(seed)
    norm = BatchNorm(6).eval()
    for value in (norm.norm.weight, norm.norm.bias, norm.norm.running_mean):
        nn.init.normal_(value)
    nn.init.uniform_(norm.norm.running_var, 0.1, 2.0)
    return norm


def test_one_two_and_with_the_bias_before() -> None:
    first, second, bias = some_norm(0), some_norm(1), torch.randn(6)
    x = torch.randn(10, 6)
    with torch.no_grad():
        for norms, before, expected in (
            ([first], None, first(x)),
            ([first], bias, first(x + bias)),
            ([first, second], None, second(first(x))),
            ([first, second], bias, second(first(x + bias))),
        ):
            factor, offset = affine(norms, before)
            assert factor.dtype == offset.dtype == torch.float32 and not factor.requires_grad
            torch.testing.assert_close(x * factor + offset, expected, atol=1e-5, rtol=1e-5)


def test_each_number_is_rounded_once() -> None:
    norm = some_norm(0)
    inside = norm.double().norm
    exact = inside.weight / torch.sqrt(inside.running_var + inside.eps)
    assert torch.equal(affine([norm], None)[0], exact.detach().float())
