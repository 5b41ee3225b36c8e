"""`method=sgquant`: widths by component, layer and degree bucket."""

from __future__ import annotations

import pytest
import torch

from dqrun.errors import ConfigError
from dqrun.nn.build import build_model
from dqrun.quant import named_sites
from dqrun.quant.row_widths import DegreeRange
from tests.methods.conftest import config_of
from tests.methods.test_row_widths import node_batch

SGQUANT = ("dataset=cora", "quant=int8", "quant.activation_granularity=row", "method=sgquant")


def test_widths_of_components_layers_and_buckets() -> None:
    words = ("model=gat", "model.heads=2", "method.feature_bits=4", "method.attention_bits=6", "method.limits=[3,90]")
    config = config_of(*SGQUANT, *words, "method.layer_bits=[1,-2]", "method.bucket_bits=[0,-1,2]")
    model, batch = build_model(config, 12, 0, 2), node_batch()
    model.train()(batch.x, batch.graph)
    degree, bits = batch.graph.csr.in_degree, {}
    for name, site in named_sites(model):
        if site.quantizer is None or site.is_weight:
            continue
        scales = site.quantizer.scales
        bits[name] = scales.row_bits if isinstance(scales, DegreeRange) else site.quantizer.spec.bits
    for layer, extra in enumerate((1, -2)):
        wanted = torch.where(degree < 3, 4, torch.where(degree < 90, 3, 6)) + extra
        assert torch.equal(bits[f"layers.{layer}.message"], wanted.clamp(1, 8).float())
        assert bits[f"layers.{layer}.logit"] == 6 + extra
    assert bits["layers.1.message"].unique().tolist() == [1.0, 2.0]


def test_widths_stay_within_1_and_8() -> None:
    words = ("model=gcn", "plan=integer", "method.feature_bits=8", "method.limits=[3]", "method.bucket_bits=[3,0]")
    model = build_model(config_of(*SGQUANT, *words), 12, 0, 2)
    tables = [module.bits.tolist() for module in model.modules() if isinstance(module, DegreeRange)]
    assert tables == [[8.0, 8.0]] * 4
    assert all("bits" not in name and "limits" not in name for name in model.state_dict())


@pytest.mark.parametrize(
    ("word", "rule"),
    [
        ("method.feature_bits=1", r"method.feature_bits must be in 2..8"),
        ("method.attention_bits=9", r"method.attention_bits must be in 2..8"),
        ("method.layer_bits=[4]", r"method.layer_bits must hold numbers in -3..3"),
        ("method.bucket_bits=[-4]", r"method.bucket_bits must hold numbers in -3..3"),
        ("method.limits=[4,2]", r"method.limits must be ascending"),
        ("method.limits=[0]", r"method.limits must be ascending, each >= 1"),
        (
            "method.bucket_bits=[0,0,0,0,0]",
            r"method.bucket_bits must have a number for each of 4 buckets at most, got 5",
        ),
        ("quant.activation_granularity=tensor", r"quant.activation_granularity must be row for method=sgquant"),
    ],
)
def test_rules(word: str, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        config_of(*SGQUANT, word)
