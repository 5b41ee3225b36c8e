"""Trials and the hashes that tell them apart."""

from dataclasses import asdict, replace

import pytest

from dqrun.composition.compose import load_configs
from dqrun.config import (
    DatasetConfig,
    FineTuneConfig,
    LoaderConfig,
    ModelConfig,
    ObserverConfig,
    PlanConfig,
    ProtocolConfig,
    QuantConfig,
    ResultsConfig,
    RunConfig,
    SiteRule,
    TrainConfig,
)
from dqrun.methods.dq import DegreeQuantConfig
from dqrun.methods.naive import NaiveConfig
from dqrun.runs.protocol import (
    Trial,
    canonical,
    cell_hash,
    completed,
    identity,
    run_id,
    shares_exactly,
    trial_hash,
    trials,
    warm_start_of,
)

SEEDS = ProtocolConfig(name="seeds", trials=3, first_seed=5)
CONFIG = RunConfig(
    dataset=DatasetConfig(name="threads", source="threads", task="graph_classification"),
    model=ModelConfig(name="gin", layers=2, hidden=8),
    quant=QuantConfig(bits=4, weight_bits=4, activation_bits=4),
    method=NaiveConfig(kind="naive", name="naive"),
    plan=PlanConfig(name="paper"),
    protocol=SEEDS,
)
FP32 = QuantConfig(bits=None, weight_bits=None, activation_bits=None)


def test_seeds() -> None:
    assert trials(SEEDS) == [Trial(5), Trial(6), Trial(7)]


def test_rules_for_states_count_only_where_a_plan_quantises_them() -> None:
    def hashed(**rules: SiteRule) -> str:
        return cell_hash(replace(CONFIG, plan=PlanConfig(name="paper", rules=rules)))

    tail = {"states.0": SiteRule(tail=0.001)}
    assert hashed(**tail) == hashed()
    assert hashed(**tail, **{"states.*": SiteRule(fp32=False)}) != hashed(**{"states.*": SiteRule(fp32=False)})


def test_batch_norms_that_are_not_there_are_not_re_estimated() -> None:
    model = replace(CONFIG.model, norm="none", mlp_norm=False)
    asked = replace(CONFIG, model=model, train=replace(CONFIG.train, bn_reestimation=9))
    assert canonical(asked).train.bn_reestimation == 0
    assert canonical(replace(asked, model=replace(model, norm="batch"))).train.bn_reestimation == 9


def test_the_grid_of_an_exact_site_counts_only_where_a_plan_quantises_it() -> None:
    def hashed(*rules: SiteRule) -> str:
        named = dict(zip(("layers.0.**", "**"), rules, strict=False))
        return cell_hash(replace(CONFIG, plan=PlanConfig(name="paper", rules=named)))

    wide, narrow = SiteRule(fp32=True, bits=8), SiteRule(fp32=True)
    assert hashed(wide) == hashed(narrow)
    assert canonical(replace(CONFIG, plan=PlanConfig(name="paper", rules={"**": wide}))).plan.rules == {"**": narrow}
    assert hashed(wide, SiteRule(fp32=False)) != hashed(narrow, SiteRule(fp32=False))


def test_folds() -> None:
    kfold = ProtocolConfig(name="kfold", num_folds=4)
    assert trials(kfold) == [Trial(0, 0), Trial(0, 1), Trial(0, 2), Trial(0, 3)]
    assert trials(replace(kfold, folds=[3, 1])) == [Trial(0, 3), Trial(0, 1)]


@pytest.mark.parametrize(
    "change",
    [
        {"results": ResultsConfig(dir="elsewhere")},
        {"threads": 7},
        {"kernels": "reference"},
        {"rerun": True},
        {"protocol": replace(SEEDS, trials=100, first_seed=0)},
        {"train": TrainConfig(fine_tune=FineTuneConfig(lr=0.1))},
        {"method": replace(CONFIG.method, observe_epochs=3)},
    ],
)
def test_what_leaves_a_result_alone_leaves_its_hash_alone(change: dict[str, object]) -> None:
    assert cell_hash(replace(CONFIG, **change)) == cell_hash(CONFIG)


@pytest.mark.parametrize(
    "change",
    [
        {"model": replace(CONFIG.model, hidden=16)},
        {"quant": replace(CONFIG.quant, weight_bits=8)},
        {"quant": replace(CONFIG.quant, weight_granularity="channel")},
        {"method": replace(CONFIG.method, estimator="clipped")},
        {"protocol": replace(SEEDS, split_seed=1)},
        {"method": replace(CONFIG.method, learned_scale=True)},
        {"method": replace(CONFIG.method, delay_epochs=3)},
        {"train": TrainConfig(warm_start="fp32")},
        {"method": replace(CONFIG.method, collapsed_range="unit")},
        {"method": replace(CONFIG.method, weight_observer=ObserverConfig(percentile="kthvalue"))},
        {"dataset": replace(CONFIG.dataset, degree_statistics="all")},
    ],
)
def test_what_determines_a_result_changes_its_hash(change: dict[str, object]) -> None:
    assert cell_hash(replace(CONFIG, **change)) != cell_hash(CONFIG)


def test_a_loader_counts_where_one_graph_is_cut_and_not_where_it_is_the_one_batch() -> None:
    nodes = replace(CONFIG, dataset=replace(CONFIG.dataset, task="node_classification"))
    cut = LoaderConfig(name="neighbor", fanouts=[5, 5], batch_size=32)
    assert "loader" not in identity(nodes)
    assert identity(replace(nodes, loader=cut))["loader"] == asdict(cut)
    assert cell_hash(replace(nodes, loader=cut)) != cell_hash(nodes)
    assert cell_hash(replace(CONFIG, loader=cut)) == cell_hash(CONFIG)


CUT = LoaderConfig(name="neighbor", fanouts=[5, 5], batch_size=32)
ONE_GRAPH = DatasetConfig(name="threads", source="threads", task="node_classification")


@pytest.mark.parametrize(
    ("change", "shared"),
    [
        ({}, True),
        ({"loader": CUT}, True),  # which graph tasks do not read
        ({"dataset": ONE_GRAPH}, True),
        ({"dataset": ONE_GRAPH, "loader": CUT}, False),
        ({"train": TrainConfig(compress_gradients="int8")}, False),
    ],
)
def test_processes_count_where_they_train_something_else(change: dict[str, object], shared: bool) -> None:
    alone, together = replace(CONFIG, **change), replace(CONFIG, processes=2, **change)
    assert shares_exactly(alone) is shares_exactly(together) is shared
    assert (cell_hash(alone) == cell_hash(together)) is shared
    assert identity(together).get("processes") == (None if shared else 2)
    assert "processes" not in identity(alone) and "compress_gradients" not in identity(alone)["train"]


def test_a_tree_without_its_loader_is_completed() -> None:
    assert completed(identity(CONFIG)) == {**identity(CONFIG), "loader": asdict(LoaderConfig())}
    tree = identity(replace(CONFIG, dataset=ONE_GRAPH, loader=CUT))
    assert completed(tree) == tree and tree["loader"] == asdict(CUT)


@pytest.mark.parametrize(("method", "counts"), [("dq", True), ("ptq", False)])
def test_fine_tuning_counts_where_a_method_trains_after_its_warm_start(method: str, counts: bool) -> None:
    words = ["train.warm_start=fp32", f"method={method}"]
    plain, tuned = (load_configs([*words, f"train.fine_tune.epochs={n}"])[0] for n in (5, 7))
    assert (cell_hash(plain) != cell_hash(tuned)) is counts
    assert canonical(tuned).train.fine_tune == (tuned.train.fine_tune if counts else FineTuneConfig())


def test_epochs_of_observed_steps_count_where_steps_are_learned() -> None:
    learned = replace(CONFIG, method=replace(CONFIG.method, learned_scale=True))
    later = replace(learned, method=replace(learned.method, observe_epochs=3))
    assert cell_hash(later) != cell_hash(learned)


def test_weights_in_fp32_have_no_granularity() -> None:
    quant = replace(CONFIG.quant, weight_bits=None, activation_bits=8)
    hashes = [cell_hash(replace(CONFIG, quant=replace(quant, weight_granularity=g))) for g in ("tensor", "channel")]
    assert hashes[0] == hashes[1]


def test_without_batch_norm_there_is_nothing_to_reestimate() -> None:
    option = TrainConfig(bn_reestimation=100)
    for model, same in (({}, True), ({"mlp_norm": True}, True), ({"norm": "batch"}, False)):
        gcn = replace(CONFIG, model=replace(CONFIG.model, name="gcn", **model))
        assert (cell_hash(gcn) == cell_hash(replace(gcn, train=option))) is same


def test_fp32_has_no_method_and_no_plan() -> None:
    plain = replace(CONFIG, quant=FP32)
    other = replace(
        plain, method=DegreeQuantConfig(kind="dq", name="dq", estimator="clipped"), plan=PlanConfig(name="integer")
    )
    assert cell_hash(plain) == cell_hash(other)
    assert run_id(plain, Trial(0)) == run_id(other, Trial(0))


def test_a_warm_start_is_what_the_same_command_runs_in_fp32() -> None:
    words = ["train.warm_start=fp32", "train.lr=0.02", "train.fine_tune={lr: 0.001, epochs: 7}"]
    quantised, plain = (
        load_configs([*words, quant, "plan=integer"])[0]
        for quant in ("evaluate.engine=integer", "quant=fp32")
    )  # fmt: skip
    start = warm_start_of(quantised)
    assert start is not None and run_id(start, Trial(3)) == run_id(plain, Trial(3))
    assert (start.own_train.lr, start.own_train.epochs) == (0.02, plain.train.epochs)
    assert (quantised.own_train.lr, quantised.own_train.epochs) == (0.001, 7)
    assert warm_start_of(plain) is None and warm_start_of(start) is None and warm_start_of(CONFIG) is None
    start.validate()


def test_fp32_is_one_trial_whatever_the_options_of_quantised_training() -> None:
    words = (
        "train.warm_start=fp32",
        "method.learned_scale=true",
        "method.delay_epochs=5",
        "quant.symmetric_weights=true",
    )
    configs = load_configs(["quant=fp32"]) + load_configs(["quant=fp32", *words])
    assert cell_hash(configs[0]) == cell_hash(configs[1])


def test_trials_of_a_cell_differ_by_seed_and_fold() -> None:
    hashes = {trial_hash(CONFIG, trial) for trial in (Trial(0), Trial(1), Trial(0, 0), Trial(0, 1))}
    assert len(hashes) == 4
    assert run_id(CONFIG, Trial(1, 2)).startswith("threads-gin-int4-naive-s1-f2-")


def test_a_changed_dataset_of_the_user_changes_the_hash() -> None:
    assert cell_hash(CONFIG, "a") != cell_hash(CONFIG, "b")


def test_where_a_folder_lies_is_no_part_of_a_trial() -> None:
    def hash_of(path: str, name: str = "mine") -> str:
        dataset = DatasetConfig(name=name, source="folder", task="graph_classification", path=path)
        return cell_hash(replace(CONFIG, dataset=dataset), "content")

    assert hash_of("g1") == hash_of("./g1/") != hash_of("g1", name="other")
