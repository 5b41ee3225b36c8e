"""Messages through their site: the fused form against gather, multiply, quantise, sum."""

from collections.abc import Callable

import pytest
import torch

from dqrun.graphs import Graph
from dqrun.nn.propagate import propagate
from dqrun.quant import LearnedScale, Phase, Quantizer, QuantSpec, RangeObserver, Site, UniformRounding

Make = Callable[..., Graph]


def site(bits: int = 4, tail: float = 0.0, learned: bool = False, **options: object) -> Site:
    made, spec = Site(), QuantSpec(bits)
    observer = RangeObserver(spec, tail=tail, update="last_batch")
    scales = LearnedScale(observer) if learned else observer
    made.quantizer = Quantizer(scales, UniformRounding(spec, **options))
    return made


@pytest.mark.parametrize("heads", [None, 3])
@pytest.mark.parametrize("tail", [0.0, 0.05])
@pytest.mark.parametrize("protect", [False, True])
def test_equals_the_definition(random_graph: Make, heads: int | None, tail: float, protect: bool) -> None:
    torch.manual_seed(0)
    csr = random_graph().csr
    h = torch.randn(30, 4) if heads is None else torch.randn(30, heads, 4)
    weight = torch.rand(csr.num_edges) if heads is None else torch.rand(csr.num_edges, heads)
    protected = torch.rand(30) < 0.3 if protect else None
    fused, plain = site(tail=tail, estimator="clipped"), site(tail=tail, estimator="clipped")
    h_fused, h_plain = h.clone().requires_grad_(), h.clone().requires_grad_()
    out = propagate(csr, h_fused, weight, fused, protected)
    messages = plain(weight.unsqueeze(-1) * h_plain[csr.col], None if protected is None else protected[csr.col])
    expected = torch.zeros_like(h).index_add(0, csr.row, messages)
    torch.testing.assert_close(out, expected)
    assert torch.equal(fused.quantizer.scales.low, plain.quantizer.scales.low)
    assert torch.equal(fused.quantizer.scales.high, plain.quantizer.scales.high)
    direction = torch.randn_like(out)
    out.backward(direction)
    expected.backward(direction)
    torch.testing.assert_close(h_fused.grad, h_plain.grad)


def test_exact_and_bypassed_sites_only_sum(random_graph: Make) -> None:
    csr = random_graph().csr
    h, weight = torch.randn(30, 4), torch.rand(csr.num_edges)
    bypassed = site()
    bypassed.quantizer.phase = Phase.BYPASS
    expected = torch.zeros_like(h).index_add(0, csr.row, weight.unsqueeze(-1) * h[csr.col])
    torch.testing.assert_close(propagate(csr, h, weight, Site(), None), expected)
    torch.testing.assert_close(propagate(csr, h, weight, bypassed, None), expected)
    assert not bypassed.quantizer.scales.ready


def test_calibration_observes_and_stays_exact(random_graph: Make) -> None:
    csr = random_graph().csr
    h, weight = torch.randn(30, 4), torch.rand(csr.num_edges)
    calibrated = site()
    calibrated.quantizer.phase = Phase.CALIBRATE
    torch.testing.assert_close(propagate(csr, h, weight, calibrated, None), propagate(csr, h, weight, Site(), None))
    messages = weight.unsqueeze(-1) * h[csr.col]
    assert calibrated.quantizer.scales.high == messages.max()


def test_noise_is_drawn_per_message(random_graph: Make) -> None:
    csr = random_graph().csr
    h, weight = torch.randn(30, 4), torch.rand(csr.num_edges)
    noisy = site(2, noise_rate=0.5, generator=torch.Generator().manual_seed(0))
    first, second = (propagate(csr, h, weight, noisy, None) for _ in range(2))
    assert not torch.equal(first, second)
    equal = propagate(csr, torch.full((30, 4), 0.3), None, noisy, None) / csr.in_degree.unsqueeze(-1)
    assert equal.unique().numel() > 4  # means over messages of one value, of which some are rounded
    noisy.eval()
    first, second = (propagate(csr, h, weight, noisy, None) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("heads", [None, 3])
def test_a_learned_step_takes_the_gradient_of_all_messages(random_graph: Make, heads: int | None) -> None:
    csr = random_graph().csr
    generator = torch.Generator().manual_seed(0)
    shape = () if heads is None else (heads,)
    h, weight = torch.randn(30, *shape, 4, generator=generator), torch.rand(csr.num_edges, *shape, generator=generator)
    protected = torch.arange(30) % 4 == 0
    fused, plain = site(learned=True), site(learned=True)
    for _ in range(2):  # the first call sets the step
        out = propagate(csr, h, weight, fused, protected)
        messages = plain(weight.unsqueeze(-1) * h[csr.col], protected[csr.col])
        expected = torch.zeros_like(h).index_add(0, csr.row, messages)
        torch.testing.assert_close(out, expected)
    direction = torch.randn(h.shape, generator=generator)
    out.backward(direction)
    expected.backward(direction)
    ours, theirs = (s.quantizer.scales.log_scale.grad for s in (fused, plain))
    assert ours != 0
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
