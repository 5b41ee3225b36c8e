"""What a search varies, for which configuration."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dqrun.composition.compose import load_configs
from dqrun.config import RunConfig
from dqrun.errors import ConfigError
from dqrun.tune.space import get, space_of, stated, values_of, with_values


def config_of(*overrides: str) -> RunConfig:
    (config,) = load_configs(overrides)
    return config


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        (["quant=int4", "method=dq"], ["lr", "weight_decay", "dropout", "p_max", "p_min", "tail"]),
        (["quant=int4", "method=naive"], ["lr", "weight_decay", "dropout", "momentum"]),
        (["quant=int8", "method=ptq"], ["lr", "weight_decay", "dropout"]),
        (["quant=fp32", "method=dq"], ["lr", "weight_decay", "dropout"]),
    ],
)
def test_only_settings_with_an_effect_are_varied(overrides: list[str], names: list[str]) -> None:
    assert [dimension.name for dimension in space_of(config_of(*overrides))] == names


def test_the_defaults_lie_inside_the_ranges() -> None:
    for overrides in (["quant=int4", "train.weight_decay=0.1"], ["quant=int8", "method.protection.p_max=0.9"]):
        for dimension in space_of(config_of(*overrides)):
            assert dimension.low <= dimension.default <= dimension.high, dimension


def test_a_wrong_name_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"must name settings among lr, .*, got 'dropot'; did you mean 'dropout'"):
        space_of(config_of(), ["lr", "dropot"])


COMPOSED = [config_of("quant=int4", "method=dq"), config_of("quant=int8", "method=naive")]


@given(st.data())
def test_every_draw_is_a_valid_configuration(data: st.DataObject) -> None:
    for config in COMPOSED:
        space = space_of(config)
        drawn = {d.name: data.draw(st.floats(d.low, d.high)) for d in space}
        values = values_of(space, drawn, config)
        changed = with_values(config, values)
        changed.validate()
        assert {name: get(changed, name) for name in values} == values


def test_widths_of_layers_and_buckets_are_whole_and_elements_of_lists() -> None:
    words = ["model=gat", "model.layers=3", "quant=int4", "quant.activation_granularity=row", "method=sgquant"]
    config = config_of(*words, "method.layer_bits=[1]", "method.limits=[5]")
    space = {
        dimension.name: dimension for dimension in space_of(config, ["attention_bits", "layer_bits", "bucket_bits"])
    }
    layers, buckets = [f"layer_bits.{i}" for i in range(3)], ["bucket_bits.0", "bucket_bits.1"]
    assert list(space) == ["attention_bits", *layers, *buckets]
    assert [dimension.default for dimension in space.values()] == [8, 1, 0, 0, 0, 0]
    values = values_of(list(space.values()), dict.fromkeys(space, 2) | {"layer_bits.1": -3}, config)
    changed = with_values(config, values)
    changed.validate()
    assert (changed.method.layer_bits, changed.method.bucket_bits) == ([2, -3, 2], [2, 2])
    assert {name: get(changed, name) for name in values} == values
    assert all(type(value) is int for value in values.values())
    assert [stated(name) for name in values][:2] == ["method.attention_bits", "method.layer_bits"]
    assert config.method.layer_bits == [1]


def test_a_small_weight_decay_is_none() -> None:
    config = config_of("train.weight_decay=1e-3")
    space = space_of(config, ["weight_decay"])
    assert values_of(space, {"weight_decay": 5e-7}, config) == {"train.weight_decay": 0.0}
    assert values_of(space, {"weight_decay": 1.23456e-4}, config) == {"train.weight_decay": 1.235e-4}


def test_after_a_warm_start_the_fine_tuning_is_varied() -> None:
    config = config_of("train.warm_start=fp32", "train.lr=0.02", "train.fine_tune.lr=0.001", "train.weight_decay=1e-3")
    lr, decay = space_of(config, ["lr", "weight_decay"])
    assert (lr.fields, lr.default, decay.fields, decay.default) == (
        *(("train.fine_tune.lr",), 0.001), *(("train.fine_tune.weight_decay",), 1e-3),
    )  # fmt: skip
    changed = with_values(config, {"train.fine_tune.lr": 0.5})
    assert (changed.own_train.lr, changed.train.lr) == (0.5, 0.02)


def test_p_min_is_a_share_of_p_max_whether_that_is_searched_or_not() -> None:
    config = config_of("quant=int4", "method.protection.p_max=0.4")
    assert values_of(space_of(config, ["p_min"]), {"p_min": 0.5}, config) == {"method.protection.p_min": 0.2}
    both = space_of(config, ["p_min", "p_max"])
    assert values_of(both, {"p_min": 0.5, "p_max": 0.1}, config)["method.protection.p_min"] == 0.05


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(KeyError):
        with_values(config_of(), {"train.lrr": 1.0})
