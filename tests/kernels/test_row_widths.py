"""Rounding of rows that differ in width, against its formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dqrun.graphs import SparseRows, dense
from dqrun.kernels.row_widths import fake_quantize_local, fake_quantize_row_widths, mean_error_of_rows

BITS = torch.tensor([1.0, 2.0, 3.0, 8.0])
SCALE = torch.tensor([0.5, 0.4, 0.3, 0.01])


def rows(sparse: bool = False) -> Tensor:
    x = torch.randn(4, 50, generator=torch.Generator().manual_seed(0))
    return torch.where(x.abs() > 1, x, 0.0) if sparse else x


@pytest.mark.parametrize("signed", [True, False])
def test_local_rounding_by_hand(signed: bool) -> None:
    x = rows()
    y = fake_quantize_local(x, SCALE, BITS, signed)
    for i in range(4):
        qmax = 2 ** (int(BITS[i]) - signed) - 1
        for v, found in zip(x[i].tolist(), y[i].tolist(), strict=True):
            code = min(math.floor(abs(v) / SCALE[i].item() + 0.5), qmax) if signed or v > 0 else 0
            assert found == pytest.approx(math.copysign(code * SCALE[i].item(), v), abs=1e-6)
        assert y[i].unique().numel() <= (2 * qmax + 1 if signed else qmax + 1)


@pytest.mark.parametrize("signed", [True, False])
def test_the_local_gradient_is_that_of_the_rows_own_error(signed: bool) -> None:
    """Whatever gradient arrives; of widths, the derivative of the outer codes, which move with the width."""
    x = rows().requires_grad_()
    scale, bits = SCALE.clone().requires_grad_(), BITS.clone().requires_grad_()
    y = fake_quantize_local(x, scale, bits, signed)
    (y * 123.0).sum().backward()
    qmax = (2 ** (BITS - int(signed)) - 1).unsqueeze(1)
    s, v = SCALE.unsqueeze(1), x.detach()
    place = torch.floor(v.abs() / s + 0.5)
    outside = place > qmax
    r = torch.sign(y.detach() - v)
    within = (place <= qmax) & ((v >= 0) | signed | (place == 0))
    of_scale = torch.where(within, r * (y.detach() - v) / s, 0.0) + torch.where(
        outside & ((v >= 0) | signed), r * torch.sign(v) * qmax, 0.0
    )
    of_bits = torch.where(outside & ((v >= 0) | signed), r * torch.sign(v) * s * (qmax + 1) * math.log(2), 0.0)
    torch.testing.assert_close(scale.grad, of_scale.mean(1))
    torch.testing.assert_close(bits.grad, of_bits.mean(1))
    torch.testing.assert_close(x.grad, torch.where(within, 123.0, 0.0))
    assert bits.grad is not None and bits.grad[1] < 0


@pytest.mark.parametrize("signed", [True, False])
def test_sparse_rows_give_what_dense_ones_do(signed: bool) -> None:
    x = rows(sparse=True)
    grads = []
    for given in (x, SparseRows.of(x)):
        scale, bits = SCALE.clone().requires_grad_(), BITS.clone().requires_grad_()
        y = fake_quantize_local(given, scale, bits, signed)
        dense(y).sum().backward()
        grads.append((dense(y).detach(), scale.grad, bits.grad))
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)
    sparse = SparseRows.of(x)
    shorter = sparse.with_values(0.9 * sparse.values)
    torch.testing.assert_close(mean_error_of_rows(sparse, shorter), (0.1 * x).abs().mean(1))


def test_each_row_has_its_codes_and_protected_rows_have_none() -> None:
    x = rows()
    levels = torch.exp2(BITS).unsqueeze(1)
    low, high = x.amin(1, keepdim=True), x.amax(1, keepdim=True)
    scale, zero = (high - low) / (levels - 1), torch.zeros(4, 1)
    protected = torch.tensor([False, False, True, False])
    y = fake_quantize_row_widths(x, scale, zero, levels, 0, protected, low)
    assert [row.unique().numel() for row in y[:2]] == [2, 4] and torch.equal(y[2], x[2])
    torch.testing.assert_close(y[:, x.argmax(1)].diag(), high.flatten())
    assert (y[3] - x[3]).abs().max() <= scale[3] / 2 + 1e-6
