"""Composition: every preset composes, overrides nest and sweep, every mistake is one line that names it."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from dqrun import register
from dqrun.composition.compose import load_configs
from dqrun.composition.groups import config_folder, list_groups
from dqrun.config import RunConfig
from dqrun.errors import ConfigError
from dqrun.runs.protocol import cell_hash

GROUPS = list_groups([config_folder()])
_NEEDED = {"folder": ["dataset.path=graphs"], "pyg": ["dataset.target=torch_geometric.datasets.KarateClub"]}
_ROWS, _EARLY = "quant.activation_granularity=row", "train.epochs=400"
_GOES_WITH = {
    "method=a2q": [_ROWS],
    "method=degree_bits": [_ROWS],
    "method=sgquant": [_ROWS],
    "method=topgq": [_ROWS],
    "method=binarygnn": ["quant=int1", "train.warm_start=fp32", "train.fine_tune.epochs=400"],
    "method=evolving": ["quant=int1", _EARLY],
    "method=salient": ["quant=int1"],
    "method=twn": ["quant=ternary"],
    "method=two_binaries": ["quant.weight_bits=2"],
}
"""What an option says it goes with; without it one line names the field."""

MODELS = ", ".join(register.layer.names())


def load(*overrides: str) -> RunConfig:
    (config,) = load_configs(overrides)
    return config


def sweep(*overrides: str) -> list[RunConfig]:
    return load_configs(overrides, multirun=True)


@pytest.mark.parametrize(("dataset", "model"), list(itertools.product(GROUPS["dataset"], GROUPS["model"])))
def test_every_dataset_and_model_compose(dataset: str, model: str) -> None:
    config = load(f"dataset={dataset}", f"model={model}", *_NEEDED.get(dataset, []))
    assert config.model.name == model
    assert config.dataset.source in register.dataset.names()


@pytest.mark.parametrize(
    "override",
    [
        f"{group}={option}"
        for group, options in GROUPS.items()
        if group not in ("dataset", "model")
        for option in options
    ],
)
def test_every_other_option_composes(override: str) -> None:
    of_nodes = ["dataset=cora", "model=gcn"] if override.startswith("loader=") else []
    load(*of_nodes, *_GOES_WITH.get(override, []), override)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["dataset=mnist"], r"loader\.name must be full for graph_classification, got 'neighbor'"),
        (
            ["dataset=mnist", "loader=full", "loader.block=9"],
            r"loader\.block must be 0 for graph_classif.*, got 9",
        ),
        (["dataset=cora", "model=gcn", "loader.fanouts=[5]"], r"loader\.fanouts must hold 2 numbers, one per layer"),
        (["dataset=cora", "model=gcn", "loader.fanouts=[3,0]"], r"loader\.fanouts must be in 1\.\.1000, got 0"),
    ],
)
def test_a_loader_that_does_not_fit_is_refused(overrides: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load("loader=neighbor", *overrides)


def test_the_number_of_fanouts_follows_the_network() -> None:
    given = [load("dataset=cora", "model=gcn", "loader=neighbor", f"model.layers={layers}") for layers in (1, 2, 4)]
    assert [config.loader.fanouts for config in given] == [[15], [15, 10], [15, 10, 5, 5]]


def test_what_a_loader_does_not_read_is_no_part_of_a_trial() -> None:
    full = load("dataset=cora", "model=gcn")
    assert cell_hash(load("dataset=cora", "model=gcn", "loader.batch_size=7")) == cell_hash(full)
    sampled = [load("dataset=cora", "model=gcn", "loader=neighbor", f"loader.fanouts=[3,{k}]") for k in (2, 3)]
    assert len({cell_hash(config) for config in (full, *sampled)}) == 3


def test_bits_and_methods_meet_the_papers_settings() -> None:
    int8, int4 = load("quant=int8", "method=dq").method, load("quant=int4", "method=dq").method
    assert (int8.observer.tail, int8.protection.p_min, int8.protection.p_max) == (0.001, 0.0, 0.1)
    assert (int4.observer.tail, int4.protection.p_min, int4.protection.p_max) == (0.01, 0.1, 0.2)
    mixed = load("quant.weight_bits=4", "quant.activation_bits=8").method
    assert (mixed.weight_observer.tail, mixed.observer.tail) == (0.01, 0.001)


def test_bits_set_both_widths_and_each_can_be_set_alone() -> None:
    assert load("quant.bits=5").quant.label == "int5"
    assert load("quant=int8", "quant.weight_bits=4").quant.label == "w4a8"
    assert load("quant=w4a8").quant.label == "w4a8"


def test_a_recipe_follows_dataset_and_model_and_the_shell_wins() -> None:
    assert load("dataset=cora", "model=gcn").model.hidden == 16
    config = load("dataset=cora", "model=gcn", "model.hidden=24", "protocol=seeds", "train={epochs: 3, lr: 0.5}")
    assert (config.model.hidden, config.protocol.trials, config.train.epochs, config.train.lr) == (24, 3, 3, 0.5)
    assert config.train.weight_decay == 5e-4  # what nobody overrode stays the recipe's


def test_any_dataset_takes_a_recipe_by_its_name() -> None:
    config = load("dataset=folder", "dataset.path=x", "model=gcn", "recipe=cora_gcn", "train.epochs=7")
    named = load("dataset=cora", "model=gcn")
    assert (config.model, config.plan, config.method) == (named.model, named.plan, named.method)
    assert (config.train.lr, config.train.epochs) == (named.train.lr, 7)
    without = load("dataset=cora", "model=gcn", "~recipe")
    assert without.model == load("dataset=folder", "dataset.path=x", "model=gcn").model != named.model


def test_an_experiment_chooses_groups_and_their_recipe() -> None:
    config = load("experiment=reddit_released_int4_dq")
    assert (config.dataset.name, config.quant.label, config.method.name) == ("REDDIT-BINARY", "int4", "dq_released")
    assert config.model.layers == load("dataset=reddit_binary", "model=gin").model.layers


def test_plan_rules_take_globs_from_the_shell() -> None:
    assert load("+plan.rules={head.*: {bits: 8}}").plan.rules["head.*"].bits == 8
    assert load("plan.fp32=['head.*']").plan.fp32 == ["head.*"]


def test_a_sweep_is_the_product_of_its_lists() -> None:
    configs = sweep("model=gin,gcn", "quant.bits=range(3,5)", "method=naive")
    assert [(config.model.name, config.quant.bits) for config in configs] == [
        ("gin", 3),
        ("gin", 4),
        ("gcn", 3),
        ("gcn", 4),
    ]


@pytest.mark.parametrize(
    ("override", "count"),
    [("method=glob(d*,exclude=*bits)", 2), ("quant.bits=choice(2,3,4)", 3), ("train={lr: 1e-3},{lr: 1e-4}", 2)],
)
def test_sweeps_in_other_words(override: str, count: int) -> None:
    assert len(sweep(override)) == count


def test_without_quantisation_all_methods_are_one_job() -> None:
    configs = sweep("method=naive,dq,ptq", "quant=fp32,int4")
    labels = [(config.quant.label, config.method.name) for config in configs]
    assert labels == [("fp32", "naive"), ("int4", "naive"), ("int4", "dq"), ("int4", "ptq")]
    assert load("method=ptq", "quant=fp32").method.name == "ptq"


def test_repeated_jobs_are_one_job() -> None:
    assert len(sweep("model.hidden=8,8,16")) == 2


@pytest.mark.parametrize("causes", ["0", "1"], ids=["", "debugger"])
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("dataset=coar", "dataset must be one of airports_usa, ..., got 'coar'; did you mean 'cora'?"),
        (
            "quant=int5",
            "quant must be one of fp32, int1, ... w4a2, w4a8, got 'int5'; did you mean 'int8'?",
        ),
        (
            "quant=4",
            "quant must be one of fp32, int1, int2, int3, int4, int8, ternary, ... w2a4, w4a2, w4a8, got '4'",
        ),
        ("model=null", f"model must be one of {MODELS}, got 'null'"),
        ("model=[gin]", f"model must be one of {MODELS}, got '[gin]'; did you mean 'gin'?"),
        ("experiment=nope", "experiment must be one of ..., got 'nope'"),
        ("~model", f"model must not be removed: a run needs one of {MODELS}"),
        ("+model=gin", "model is part of every run: write model=gin without '+'"),
        ("model.hiden=3", "there is no field 'model.hiden'; did you mean 'model.hidden'?"),
        ("+model.hiden=3", "there is no field 'model.hiden'; did you mean 'model.hidden'?"),
        ("++model.foo=3", "there is no field 'model.foo'"),
        ("hiden=3", "there is no field 'hiden'; did you mean 'model.hidden'?"),
        ("lr=3", "there is no field 'lr'; did you mean 'train.lr'?"),
        ("launcher.workers=3", "there is no field 'launcher.workers': launcher has name, cluster, ..."),
        ("foo=3", "there is no field or group 'foo'"),
        ("train={lrr: 3}", "there is no field 'train.lrr'; did you mean 'train.lr'?"),
        ("model.hidden=abc", "model.hidden must be an integer, got 'abc'"),
        ("model.hidden=1.5", "model.hidden must be an integer, got '1.5'"),
        ("model.hidden=null", "model.hidden must be an integer, got None"),
        ("quant.bits=int5", "quant.bits must be an integer or null, got 'int5'"),
        ("quant.bits=9", "quant.bits must be in 1..8 or null, got 9"),
        ("protocol.folds=[a]", "protocol.folds[0] must be a list of integers or null, got 'a'"),
        ("method.observer=3", "method.observer must be a group of fields: ..."),
        ("~model.hidden", "model.hidden must not be removed, got '~model.hidden'"),
        ("+plan.rules={a: {bits: x}}", "plan.rules.a.bits must be an integer or null, got 'x'"),
        ("+plan.rules={a: {bit: 3}}", "there is no field 'plan.rules.a.bit'; did you mean 'plan.rules.*.bits'?"),
        ("plan.rules={a: {bits: 3}}", "plan.rules has no entry 'a': add one with '+', ..."),
        ("+plan.rules.a.bits=3", "plan.rules.a.bits is no whole entry of plan.rules: ..."),
        ("model.name=???", "model.name must have a value, got none"),
        ("model.hidden=${nope}", "model.hidden: Interpolation key 'nope' not found"),
        ("model.hidden=${model.hidden}", "model.hidden: Recursive interpolation detected"),
        ("model.hidden=[1", "override 'model.hidden=[1' is not of the form key=value ..."),
        ("model", "override 'model' is not of the form key=value, GROUP=OPTION or FIELD=VALUE"),
        ("gcn", "override 'gcn' is not of the form key=value, GROUP=OPTION or FIELD=VALUE; did you mean 'model=gcn'?"),
        ("=3", "override '=3' names no field"),
        ("model@other=gin", "Could not override 'model@other'. ..."),
        ("model=gin,gcn", "model=gin,gcn gives several values: add -m to run each of them"),
        ("recipe=null", "recipe=null removes nothing: write '~recipe' for no recipe"),
        ("recipe=cora_gim", "recipe must be one of cifar10_gat, ..., got 'cora_gim'; did you mean 'cora_gin'?"),
        ("hydra.run.dir=x", "hydra.run.dir has no effect in dqrun: ..."),
        ("hydra/launcher=joblib", "hydra/launcher has no effect in dqrun: ..."),
    ],
)
def test_a_mistake_is_one_line(override: str, message: str, causes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OC_CAUSE", causes)  # with "1" OmegaConf links errors to their causes, as under a debugger
    _check_message([override], message)


def test_a_sweep_is_checked_to_its_end() -> None:
    _check_message(["quant=int8,int5"], "quant must be one of ..., got 'int5'; did you mean 'int8'?", multirun=True)
    _check_message(["model.hidden=8,-1"], "model.hidden must be in 1..65536, got -1", multirun=True)
    _check_message(
        ["model.hidden=interval(1,3)"], "model.hidden=interval(1,3) is no list of values: ...", multirun=True
    )


def _check_message(overrides: list[str], text: str, *, multirun: bool = False, config_dir: Path | None = None) -> None:
    """Composition must fail with one line that is `text`, in which `...` stands for anything."""
    with pytest.raises(ConfigError) as caught:
        load_configs(overrides, multirun=multirun, config_dir=None if config_dir is None else str(config_dir))
    message = str(caught.value)
    assert "\n" not in message
    assert re.fullmatch(".*".join(map(re.escape, text.split("..."))), message), message


@pytest.fixture
def presets(tmp_path: Path) -> Path:
    """A user's own folder of presets, good and bad."""
    files = {
        "dataset/mine/small.yaml": "name: PROTEINS\nsource: tu\ntask: graph_classification\n",
        "dataset/unknown_field.yaml": "name: x\nfoo: 1\n",
        "dataset/broken.yaml": "name: [x\n",
        "dataset/listed.yaml": "- a\n- b\n",
        "dataset/circle.yaml": "defaults: [circle]\nname: x\n",
        "dataset/empty.yaml": "",
        "experiment/bad_model.yaml": "# @package _global_\ndefaults: [{override /model: gni}]\n",
        "experiment/table.yaml": "# @package _global_\n"
        "hydra: {sweeper: {params: {model: 'gin,gcn', quant.bits: '3,4'}}}\n",
    }
    for name, text in files.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return tmp_path


def test_a_users_folder_adds_options(presets: Path) -> None:
    (config,) = load_configs(["dataset=mine/small", "model=gcn"], config_dir=str(presets))
    assert (config.dataset.name, config.model.name) == ("PROTEINS", "gcn")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("dataset=unknown_field", "in dataset/unknown_field.yaml: there is no field 'dataset.foo'"),
        ("dataset=broken", "while parsing a flow sequence in ...broken.yaml..."),
        ("dataset=listed", "in dataset/listed.yaml: ..."),
        ("dataset=circle", "presets refer to each other in a circle"),
        ("dataset=empty", "dataset.name must have a value, got none"),
        ("experiment=bad_model", f"model must be one of {MODELS}, got 'gni'; did you mean 'gin'?"),
        ("experiment=table", "hydra.sweeper.params in a preset asks for a sweep: add -m"),
    ],
)
def test_a_bad_preset_is_one_line(presets: Path, override: str, message: str) -> None:
    _check_message([override], message, config_dir=presets)


def test_a_preset_can_hold_a_sweep_and_the_shell_wins(presets: Path) -> None:
    found = load_configs(["experiment=table", "model=gat"], multirun=True, config_dir=str(presets))
    assert [(config.model.name, config.quant.bits) for config in found] == [("gat", 3), ("gat", 4)]


def test_a_users_own_main_file_keeps_the_schema(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("defaults: [{model: gin}]\n", encoding="utf-8")
    _check_message([], "run.yaml in --config-dir must begin its defaults list with `schema`", config_dir=tmp_path)


def test_a_users_folder_must_exist(tmp_path: Path) -> None:
    _check_message([], "--config-dir must be an existing folder, got ...", config_dir=tmp_path / "absent")
