"""The schema: every field documented, every rule told in one line that names the field and the value."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from dqrun import config as schema_module
from dqrun.composition.compose import load_configs
from dqrun.config import QuantConfig, RunConfig
from dqrun.errors import ConfigError


@pytest.fixture(scope="module")
def default_config() -> RunConfig:
    (config,) = load_configs([])
    return config


@pytest.fixture
def config(default_config: RunConfig) -> RunConfig:
    """The default run, for one test to spoil."""
    return copy.deepcopy(default_config)


def _dataclasses() -> Iterator[type]:
    for value in vars(schema_module).values():
        if isinstance(value, type) and dataclasses.is_dataclass(value):
            yield value


def _set(config: RunConfig, name: str, value: Any) -> None:
    *parts, last = name.split(".")
    owner: Any = config
    for part in parts:
        owner = getattr(owner, part)
    setattr(owner, last, value)


@pytest.mark.parametrize("part", list(_dataclasses()), ids=lambda part: part.__name__)
def test_every_field_is_documented(part: type) -> None:
    for field in dataclasses.fields(part):
        nested = field.default_factory if dataclasses.is_dataclass(field.default_factory) else None
        assert field.metadata.get("doc") or nested, f"{part.__name__}.{field.name} has no doc(...)"
    assert part.__doc__


def test_the_default_run_is_valid(config: RunConfig) -> None:
    config.validate()


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("method.delay_epochs", -1, "be >= 0"),
        ("method.delay_epochs", 40, "be < the 40 epochs of training"),
        ("method.observe_epochs", -1, "be >= 0"),
        ("train.warm_start", "int8", "be one of none, fp32"),
        ("train.bn_reestimation", 1, "be 0 or >= 2"),
        ("train.fine_tune.epochs", 0, "be >= 1"),
        ("train.fine_tune.lr", -0.1, "be > 0 and finite"),
        ("dataset.source", "web", "be one of folder"),
        ("dataset.task", "ranking", "be one of node_classification"),
        ("dataset.features", "none", "be one of given"),
        ("dataset.max_one_hot_degree", -1, "be >= 0"),
        ("dataset.graphs", 9, "be in 10..1000000"),
        ("model.name", "mlp", "be one of gat"),
        ("model.layers", 0, "be in 1..1000"),
        ("model.layers", 1_000_000, "be in 1..1000"),
        ("model.hidden", -1, "be in 1..65536"),
        ("model.mlp_layers", 101, "be in 1..100"),
        ("model.heads", 3, "divide model.hidden=32"),
        ("model.dropout", 1.0, "be in [0, 1)"),
        ("model.head", [0], "hold divisors >= 1"),
        ("model.norm", "layer", "be one of none, batch"),
        ("quant.bits", 9, "be in 1..8 or null"),
        ("quant.weight_bits", 0, "be in 1..8 or null"),
        ("quant.activation_bits", 0, "be in 1..8 or null"),
        ("method.name", "", "be text of 1 to 200 characters"),
        ("plan.name", " a", "be text of 1 to 200 characters"),
        ("dataset.name", "a" * 201, "be text of 1 to 200 characters"),
        ("dataset.name", "a\x1b[31m", "hold no control characters"),
        ("dataset.path", "a\0", "hold no control characters"),
        ("notes", "line\nline\x07", "hold no control characters"),
        ("tags", ["a b"], "be words of letters"),
        ("tags", [""], "be words of letters"),
        ("method.estimator", "none", "be one of ste"),
        ("method.observer.tail", 0.5, "be in [0, 0.5)"),
        ("method.weight_observer.momentum", 0.0, "be in (0, 1]"),
        ("method.protection.p_max", 1.5, "be in [0, 1]"),
        ("method.protection.p_min", 0.9, "be <= method.protection.p_max=0.1"),
        ("protocol.trials", 0, "be in 1..100000"),
        ("protocol.trials", 10**12, "be in 1..100000"),
        ("protocol.first_seed", 2**32, "be in 0..4294967295"),
        ("protocol.split_seed", -1, "be in 0..4294967295"),
        ("protocol.num_folds", 2, "be in 3..100000"),
        ("train.epochs", 2**32, "be in -4294967295..4294967295"),
        ("jobs", 100_000, "be in 0..10000"),
        ("protocol.folds", [10], "list folds in 0..9"),
        ("protocol.folds", [], "list folds in 0..9"),
        ("protocol.folds", [1, 1], "name each fold once"),
        ("train.epochs", 0, "be >= 1"),
        ("train.batch_size", 0, "be >= 1"),
        ("train.lr", 0.0, "be > 0"),
        ("train.lr", float("nan"), "be > 0 and finite"),
        ("train.grad_clip", float("inf"), "be finite"),
        ("train.weight_decay", -1e-4, "be >= 0 and finite"),
        ("train.schedule.name", "cosine", "be one of none"),
        ("train.schedule.factor", 1.0, "be in (0, 1)"),
        ("device", "tpu", "be one of cpu, cuda"),
        ("threads", -1, "be >= 0"),
        ("kernels", "fast", "be one of auto"),
    ],
)
def test_a_broken_rule_names_field_rule_and_value(config: RunConfig, name: str, value: Any, rule: str) -> None:
    _set(config, name, value)
    with pytest.raises(ConfigError) as caught:
        config.validate()
    message = str(caught.value)
    assert message.startswith(f"{name} must {rule}")
    assert message.endswith(f"got {value!r}")
    assert "\n" not in message


def test_rules_of_a_plan_are_checked(config: RunConfig) -> None:
    config.plan.rules["head.*"] = schema_module.SiteRule(fp32=None, bits=9, symmetric=None, tail=None)
    with pytest.raises(ConfigError, match=r"^plan\.rules\.head\.\*\.bits must be in 1\.\.8 or null, got 9$"):
        config.validate()


def test_node_tasks_have_no_folds() -> None:
    with pytest.raises(ConfigError, match=r"^protocol\.name must be seeds for node tasks, got 'kfold'$"):
        load_configs(["dataset=cora", "protocol=kfold"])


def test_a_folder_dataset_needs_a_path() -> None:
    with pytest.raises(ConfigError, match=r"^dataset\.path must name a folder"):
        load_configs(["dataset=folder"])


@pytest.mark.parametrize(
    ("weights", "activations", "label", "with_channels"),
    [
        (None, None, "fp32", "fp32"),
        (8, 8, "int8", "int8-channel"),
        (4, 8, "w4a8", "w4a8-channel"),
        (4, None, "w4a32", "w4a32-channel"),
        (None, 8, "w32a8", "w32a8"),
    ],
)
def test_quant_label(weights: int | None, activations: int | None, label: str, with_channels: str) -> None:
    quant = QuantConfig(bits=None, weight_bits=weights, activation_bits=activations)
    assert quant.label == label
    assert replace(quant, weight_granularity="channel").label == with_channels
    assert quant.is_fp32 == (label == "fp32")


def test_an_unknown_granularity_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"^quant\.weight_granularity must be one of tensor, channel, group, got 'row'"
    ):
        load_configs(["quant.weight_granularity=row"])


def test_data_folders_come_from_field_then_environment_then_platform(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.delenv("DQRUN_DATA", raising=False)
    monkeypatch.delenv("DQRUN_DATA_MIRROR", raising=False)
    assert config.data.resolved_root.name == "dqrun"
    assert config.data.resolved_mirror is None
    monkeypatch.setenv("DQRUN_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("DQRUN_DATA_MIRROR", str(tmp_path / "absent"))
    assert config.data.resolved_root == tmp_path / "cache"
    with pytest.raises(ConfigError, match=r"^data\.mirror must be an existing folder"):
        config.validate()
    config.data.mirror = str(tmp_path)
    assert config.data.resolved_mirror == tmp_path


def test_the_noise_rate_is_a_share() -> None:
    with pytest.raises(ConfigError, match=r"^method\.noise_rate must be in \(0, 1\], got 0\.0$"):
        load_configs(["method=noisy", "method.noise_rate=0.0"])


@pytest.mark.parametrize("word", ["method.learned_scale=true", "method.delay_epochs=2", "+method.noise_rate=0.5"])
def test_a_field_of_another_method_is_an_error_that_lists_the_fields_of_this_one(word: str) -> None:
    field = word.lstrip("+").partition("=")[0]
    fields = (
        "bias_correction, calibration, calibrator, candidates, collapsed_range, error_power, estimator, generated, "
        "observer, weight_calibrator, weight_observer"
    )
    with pytest.raises(
        ConfigError, match=rf"^there is no field '{field}' of this method, which has {fields} \(method="
    ):
        load_configs(["method=ptq", word])


def test_a_near_field_of_a_method_is_proposed() -> None:
    with pytest.raises(ConfigError, match=r"^there is no field 'method.protecton' .* did you mean 'protection'\?$"):
        load_configs(["method=dq", "method.protecton=1"])


def test_a_method_and_its_fields_go_together() -> None:
    with pytest.raises(ConfigError, match=r"^method\.kind must be left to the option of method=, .*, got 'naive'$"):
        load_configs(["method=dq", "method.kind=naive"])


def test_post_training_quantisation_may_start_from_the_fp32_trial() -> None:
    """It then trains nothing (tests/methods/test_ptq.py): all its settings share one training."""
    (config,) = load_configs(["method=ptq", "train.warm_start=fp32"])
    assert config.starts_warm


def test_steps_that_are_to_be_learned_are_not_observed_to_the_end() -> None:
    words = ["train.epochs=50", "method.delay_epochs=20", "method.observe_epochs=30"]
    message = r"method\.observe_epochs must be < the 30 epochs of training after the delay, got 30"
    with pytest.raises(ConfigError, match=message):
        load_configs([*words, "method.learned_scale=true"])
    load_configs(words)


def test_a_delay_is_shorter_than_the_fine_tuning() -> None:
    words = ["train.epochs=50", "train.fine_tune.epochs=5", "method.delay_epochs=5"]
    with pytest.raises(ConfigError, match=r"method\.delay_epochs must be < the 5 epochs of training, got 5"):
        load_configs([*words, "train.warm_start=fp32"])
    load_configs(words)
