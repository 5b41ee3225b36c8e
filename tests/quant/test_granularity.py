"""A scale for each output channel of a weight: ranges, learned scales, and the weights of networks."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from dqrun import kernels
from dqrun.composition.compose import load_configs
from dqrun.errors import ConfigError
from dqrun.graphs import CSR, Graph
from dqrun.nn.build import build_model
from dqrun.quant import (
    CHANNEL,
    ROW,
    TENSOR,
    Granularity,
    LearnedScale,
    Phase,
    Quantizer,
    QuantSpec,
    RangeObserver,
    Site,
    UniformRounding,
    named_sites,
)

SPEC = QuantSpec(4, symmetric=True, narrow=True, granularity=CHANNEL)
WEIGHT = torch.randn(3, 40, generator=torch.Generator().manual_seed(0)) * torch.tensor([[0.1], [1.0], [30.0]])


def quantizer(learned: bool = False, shape: tuple[int, ...] = (3, 1), **options: object) -> Quantizer:
    observer = RangeObserver(SPEC if shape else replace(SPEC, granularity=TENSOR), shape, **options)
    scales = LearnedScale(observer, from_mean=True) if learned else observer
    return Quantizer(scales, UniformRounding(observer.spec, "clipped"))


def test_kinds() -> None:
    assert CHANNEL.scale_shape((5, 7), (1,)) == (1, 7) and TENSOR.scale_shape((5, 7), (1,)) == ()
    assert CHANNEL.scale_shape((2, 3, 7), (0, 1)) == (2, 3, 1)
    assert ROW.per_row and Granularity("group", 32).per_row and not CHANNEL.per_row
    with pytest.raises(ConfigError, match=r"granularity\.kind must be tensor or channel for a weight, got 'row'"):
        ROW.scale_shape((5, 7), (0,))
    with pytest.raises(ConfigError, match=r"granularity\.kind must be one of .*, got 'columns'"):
        Granularity("columns")
    for kind, size in (("group", 0), ("row", 3)):
        with pytest.raises(ConfigError, match=r"granularity\.size must be > 0 for groups"):
            Granularity(kind, size)


@pytest.mark.parametrize("version", ["reference", "cpu"])
@pytest.mark.parametrize("update", ["running_minmax", "ema", "last_batch"])
@pytest.mark.parametrize("tail", [0.0, 0.1])
def test_each_channel_is_quantised_as_if_alone(update: str, tail: float, version: str) -> None:
    together = quantizer(tail=tail, update=update)
    alone = [quantizer(shape=(), tail=tail, update=update) for _ in range(3)]
    with kernels.use(version):
        for factor in (1.0, 3.0, 0.2):
            expected = torch.cat([q(factor * WEIGHT[i : i + 1]) for i, q in enumerate(alone)])
            assert torch.equal(together(factor * WEIGHT), expected)
        together.eval()
        expected = torch.cat([q.eval()(WEIGHT[i : i + 1]) for i, q in enumerate(alone)])
        assert torch.equal(together(WEIGHT), expected)


@pytest.mark.parametrize("version", ["reference", "cpu"])
def test_learned_scales_of_channels_are_those_of_lsq(version: str) -> None:
    """Each begins as 2 mean|w| / sqrt(qmax) of its channel, its gradient is scaled by the channel's elements."""
    q = quantizer(learned=True)
    q(WEIGHT)
    scales = q.fixed_scales().scale
    torch.testing.assert_close(scales, 2 * WEIGHT.abs().mean(1, keepdim=True) / math.sqrt(7))
    with kernels.use(version):
        q(WEIGHT).sum().backward()
    assert isinstance(q.scales, LearnedScale) and q.scales.log_scale.grad is not None
    for i in range(3):
        place = WEIGHT[i] / scales[i]
        slope = torch.where(place.abs() < 7, place.round() - place, 7 * place.sign())
        torch.testing.assert_close(q.scales.log_scale.grad[i, 0], scales[i, 0] * slope.sum() / math.sqrt(40 * 7))


def test_a_channel_of_zeros_begins_as_the_mean_of_the_others() -> None:
    q, weight = quantizer(learned=True), WEIGHT.clone()
    q(torch.zeros(3, 40))
    assert isinstance(q.scales, LearnedScale) and not q.scales.begun
    weight[1] = 0
    assert torch.equal(q(weight)[1], weight[1])
    scale = q.fixed_scales().scale
    torch.testing.assert_close(scale[1], (scale[0] + scale[2]) / 2)


def test_a_saved_state_has_all_scales() -> None:
    for learned in (False, True):
        q, other = quantizer(learned), quantizer(learned).eval()
        q(WEIGHT)
        other.load_state_dict(q.state_dict())
        assert torch.equal(other(WEIGHT), q.eval()(WEIGHT))


@pytest.mark.parametrize("method", ["naive", "noisy", "dq", "ptq", "dq_released"])
@pytest.mark.parametrize("name", ["gcn", "gat", "gin", "sage"])
def test_each_weight_of_a_network_has_scales_of_its_output_channels(name: str, method: str) -> None:
    words = ["dataset=zinc", f"model={name}", "quant=int4", f"method={method}", "quant.weight_granularity=channel"]
    (config,) = load_configs([*words, "model.encoder=linear", "model.hidden=8", "model.layers=2"])
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = build_model(config, 5, 0, 2, generator).train()
    edges = torch.randint(6, (2, 20), generator=generator)
    graph = Graph(CSR.from_edge_index(edges, 6), torch.tensor([0, 6]), torch.zeros(6, dtype=torch.int64), torch.ones(6))
    for _ in range(2):
        model(torch.randn(6, 5, generator=generator), graph).sum().backward()
    require_own_scales(dict(named_sites(model)), dict(model.named_modules()))


def require_own_scales(sites: dict[str, Site], modules: dict[str, nn.Module]) -> None:
    weights = {name: site for name, site in sites.items() if site.is_weight}
    assert len(weights) >= 5
    for name, site in weights.items():
        owner, _, parameter = name.rpartition(".")
        weight: Tensor = getattr(modules[owner], parameter)
        assert site.quantizer is not None and site.quantizer.phase is Phase.QUANTIZE
        scale = site.quantizer.fixed_scales().scale
        outputs = weight.numel() // (weight.size(-1) if parameter == "attention" else weight.size(1 - site.channels[0]))
        assert scale.numel() == outputs and weight.grad is not None, name
        assert scale.unique().numel() == outputs, "each channel has a range of its own"


def test_the_embedding_has_a_scale_for_each_column() -> None:
    words = ["dataset=zinc", "model=gin", "quant=int4", "quant.weight_granularity=channel", "model.hidden=6"]
    model = build_model(load_configs(words)[0], 0, 28, 1)
    assert dict(named_sites(model))["encoder.weight"].quantizer.scales.low.shape == (1, 6)
