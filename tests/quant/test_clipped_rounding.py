"""PACT's gradient of a clip."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dqrun.graphs import CSR
from dqrun.nn.propagate import Messages
from dqrun.quant import QuantSpec, Scales
from dqrun.quant.clipped_rounding import ClippedRounding
from dqrun.quant.values import Values

SPEC = QuantSpec(3, signed=False)
CLIP = 1.4


def scales(signed: bool = False) -> tuple[Scales, Tensor]:
    clip = torch.tensor(CLIP, requires_grad=True)
    return Scales(clip / SPEC.qmax, torch.tensor(2 if signed else 0, dtype=torch.int32)), clip


def test_it_is_the_sum_over_what_is_clipped() -> None:
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    grad, (given, clip) = torch.randn(40, 3, generator=torch.Generator().manual_seed(1)), scales()
    y = ClippedRounding(SPEC)(Values(x), given)
    assert torch.equal(y, Values(x).fake_quantize(Scales(given.scale.detach(), given.zero_point), SPEC, "ste", None))
    y.backward(grad)
    assert clip.grad is not None and x.grad is not None
    torch.testing.assert_close(clip.grad, grad[x >= CLIP].sum())
    outside = (x < -CLIP / 14) | (x > CLIP + CLIP / 14)  # as far as the code of the end reaches
    assert torch.equal(x.grad, grad.masked_fill(outside, 0.0))


def test_both_ends_move_where_there_are_two() -> None:
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    given, clip = scales(signed=True)
    ClippedRounding(SPEC)(Values(x), given).sum().backward()
    low, high = -2 * CLIP / 7, 5 * CLIP / 7
    assert clip.grad is not None
    torch.testing.assert_close(clip.grad, ((x >= high).sum() * 5 - (x <= low).sum() * 2) / 7)


@pytest.mark.parametrize("relu", [False, True])
def test_protected_rows_and_a_relu_have_no_part(relu: bool) -> None:
    x, protected = torch.tensor([[5.0], [5.0], [-5.0]]), torch.tensor([True, False, False])
    given, clip = scales(signed=True)
    ClippedRounding(SPEC)(Values(x, protected, relu=relu), given).sum().backward()
    assert clip.grad is not None
    torch.testing.assert_close(clip.grad, torch.tensor(5 / 7 if relu else 5 / 7 - 2 / 7))


def test_messages_count_one_by_one() -> None:
    csr = CSR.from_edge_index(torch.tensor([[0, 0, 1], [1, 2, 2]]), 3)
    x, weight = torch.tensor([[2.0], [1.0], [0.0]]), torch.tensor([1.0, 0.5, 3.0])
    given, clip = scales()
    ClippedRounding(SPEC)(Messages(csr, x, weight, None), given).sum().backward()
    assert clip.grad == 2  # 2.0 and 3.0 are beyond, 1.0 is not
