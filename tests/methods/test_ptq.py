"""Post-training quantisation: whose network it takes, what it observes, what it corrects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from dqrun import kernels
from dqrun.composition.compose import load_configs
from dqrun.config import RunConfig
from dqrun.errors import ConfigError
from dqrun.graphs import Batch, Graph
from dqrun.methods.ptq import GeneratedConfig, Ptq
from dqrun.nn.bias_correction import OutputMean, correct_biases
from dqrun.nn.build import build_model
from dqrun.nn.generated import Sizes, generated_batch
from dqrun.quant import Phase, named_sites
from dqrun.quant.plan import set_phase
from dqrun.quant.shrunk_range import ShrunkRange
from dqrun.runs.outcome import Outcome
from dqrun.runs.protocol import cell_hash
from dqrun.sweep.run import run_all
from dqrun.training.passes import calibrate
from dqrun.training.problem import Problem
from dqrun.training.tasks import Task
from dqrun.tune.space import space_of
from tests.methods.conftest import config_of

SIZES = Sizes(5, 0, 3, graph_level=True, classes=True)
SMALL = GeneratedConfig(nodes=60, graphs=4, degree=3.0, steps=0)


def network(*words: str) -> nn.Module:
    """With batch norms that keep other statistics than those of a new network."""
    torch.manual_seed(0)
    config = config_of("method=ptq", "model=gin", "quant=int4", "model.norm=batch", *words)
    model = build_model(config, 5, 0, 3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model.eval()


def test_a_warm_start_gives_what_training_gives(
    tmp_path: Path, one_thread: None, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["dataset.graphs=12", "model.hidden=8", "model.layers=2", "train.epochs=3", "train.batch_size=6"]
    words += ["protocol.trials=1", "threads=1", f"results.dir={tmp_path}", "model.norm=batch"]
    words += ["method=ptq", "method.calibrator=least_error", "quant=int4"]
    cold, warm = (load_configs([*words, *more])[0] for more in ([], ["train.warm_start=fp32"]))
    assert run_all([cold, warm]) == 0
    assert ", not trained, " in capsys.readouterr().err
    rows = pd.read_csv(tmp_path / "trials.csv").set_index("warm_start")
    metrics = ["train_metric", "val_metric", "test_metric"]
    quantised = rows[rows["method"] == "ptq"]
    assert list(quantised.loc["none", metrics]) == list(quantised.loc["fp32", metrics])
    assert quantised.loc["fp32", "epochs"] == 0 and pd.isna(quantised.loc["fp32", "best_epoch"])
    folder = tmp_path / "runs" / quantised.loc["fp32", "run_id"]
    assert pd.read_csv(folder / "history.csv").columns[0] == "epoch"


def test_what_comes_after_a_warm_start_has_no_effect() -> None:
    words = "method=ptq", "quant=int4", "train.warm_start=fp32"
    plain, tuned = config_of(*words), config_of(*words, "train.fine_tune.epochs=7", "train.fine_tune.lr=0.5")
    assert cell_hash(plain) == cell_hash(tuned)
    assert cell_hash(plain) == cell_hash(config_of(*words, "method.candidates=7", "method.generated.steps=3"))
    assert cell_hash(plain) != cell_hash(config_of(*words, "method.calibrator=least_error"))
    names = [dimension.name for dimension in space_of(config_of(*words, "method.calibrator=least_error"))]
    assert "error_power" in names and not {"lr", "weight_decay"} & {*names}
    assert "lr" in [dimension.name for dimension in space_of(config_of("method=ptq", "quant=int4"))]


@pytest.mark.parametrize("which", ["calibrator", "weight_calibrator"])
def test_the_range_of_least_error_is_searched_for_where_asked(which: str) -> None:
    model = network(f"method.{which}=least_error")
    for name, site in named_sites(model):
        if site.quantizer is not None:
            searched = isinstance(site.quantizer.scales, ShrunkRange)
            assert searched == (site.is_weight == (which == "weight_calibrator")), name


def test_a_mean_is_that_before_a_relu() -> None:
    linear = network().head[0]
    x = torch.randn(50, linear.weight.size(1), generator=torch.Generator().manual_seed(0))
    set_phase(linear, Phase.BYPASS)
    plain, watched = linear(x, relu=True), OutputMean(linear)
    assert torch.equal(linear(x, relu=True), plain) and bool((plain >= 0).all())
    torch.testing.assert_close(watched.end().float(), (x @ linear.weight.t() + linear.bias).mean(0))


@pytest.mark.parametrize(("plan", "bits"), [("paper", 6), ("integer", 3)])
def test_corrected_biases_give_the_means_of_fp32(plan: str, bits: int) -> None:
    model = network(f"quant.bits={bits}", f"plan={plan}", "model=gcn", "model.norm=none", "model.head=[]")
    batch = generated_batch(model, SIZES, SMALL)
    problem = Problem(Task("graph_classification"), lambda generator: [batch], lambda: [batch], lambda: [batch])
    with kernels.use("reference"):
        set_phase(model, Phase.BYPASS)
        exact = _means(model, batch)
        calibrate(model, problem)
        before = _means(model, batch)
        correct_biases(model, [batch])
        after = _means(model, batch)
    distance = [sum((a - b).abs().sum().item() for a, b in zip(exact, means, strict=True)) for means in (before, after)]
    assert distance[1] < (1e-4 if plan == "integer" else 1.0) * distance[0]


def _means(model: nn.Module, batch: Batch) -> list[torch.Tensor]:
    watched = [OutputMean(layer) for layer in [*model.layers, *model.head]]
    model(batch.x, batch.graph)
    return [each.end() for each in watched]


def test_generated_graphs() -> None:
    model = network()
    batch = generated_batch(model, SIZES, replace(SMALL, features="simplex"))
    graph: Graph = batch.graph
    assert batch.x.shape == (60, 5) and graph.num_graphs == 4 and set(graph.node_ptr.diff().tolist()) == {15}
    torch.testing.assert_close(batch.x.sum(1), torch.ones(60))
    assert bool((graph.batch[graph.csr.row] == graph.batch[graph.csr.col]).all())
    assert 120 < graph.csr.num_edges <= 180
    assert graph.csr.in_degree.max() > 2 * graph.csr.in_degree.float().mean()
    again = generated_batch(model, SIZES, replace(SMALL, features="simplex"))
    assert torch.equal(batch.x, again.x)
    whole = generated_batch(model, replace(SIZES, graph_level=False), SMALL)
    labels = whole.y
    assert whole.graph.num_graphs == 1 and labels.shape == (60,)
    same = labels[whole.graph.csr.row] == labels[whole.graph.csr.col]
    assert same.float().mean() > 0.7
    loops = generated_batch(network("model=gcn"), SIZES, SMALL).graph.csr
    assert int((loops.row == loops.col).sum()) == 60
    assert generated_batch(model, replace(SIZES, num_categories=7), SMALL).x.dtype == torch.int64


def _keep_statistics(model: nn.Module) -> None:
    """Those of features with another mean and variance than the ones that are drawn."""
    batch = generated_batch(model, SIZES, SMALL)
    set_phase(model, Phase.BYPASS)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.momentum = 1.0
    with torch.no_grad(), kernels.use("reference"):
        model.train()(0.5 * batch.x + 2, batch.graph)
    model.eval()


def test_fitted_features_meet_the_statistics_of_batch_norms_and_the_labels() -> None:
    model = network("model.layers=1")
    _keep_statistics(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    distances, losses = [], []
    with kernels.use("reference"):
        for steps in (0, 150):
            batch = generated_batch(model, SIZES, replace(SMALL, steps=steps, features="normal"))
            set_phase(model, Phase.BYPASS)
            given: list[torch.Tensor] = []
            handle = model.norms[0].norm.register_forward_pre_hook(lambda m, x, given=given: given.append(x[0]))
            with torch.no_grad():
                logits = model(batch.x, batch.graph)
            handle.remove()
            distances.append((given[0].mean(0) - model.norms[0].norm.running_mean).abs().mean().item())
            losses.append(nn.functional.cross_entropy(logits, batch.y).item())
    assert distances[1] < 0.7 * distances[0] and losses[1] < losses[0]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_no_data_are_read_for_generated_graphs(run: Callable[[RunConfig], Outcome]) -> None:
    config = config_of("method=ptq", "quant=int8", "method.calibration=generated", "method.generated.steps=2")
    method = Ptq(config.method)

    def refused() -> list[Batch]:
        raise AssertionError("data were read")

    model = build_model(config, 5, 0, 3)
    problem = Problem(Task("graph_classification"), lambda generator: refused(), refused, refused, None, SIZES)
    with kernels.use("reference"):
        calibrate(model, problem, method.calibration_data(model, problem))
    assert all(site.quantizer.scales.ready for _, site in named_sites(model) if site.quantizer is not None)
    row = run(config).row
    assert row.status == "done" and row.epochs == 3


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("method.calibrator=best", "method.calibrator must be one of observed, least_error, got 'best'"),
        ("method.error_power=0", "method.error_power must be > 0, got 0.0"),
        ("method.candidates=0", "method.candidates must be >= 1, got 0"),
        ("method.generated.nodes=1", "method.generated.nodes must be >= 2, got 1"),
        ("method.generated.graphs=0", "method.generated.graphs must be in 1..1000, got 0"),
        ("method.generated.features=x", "method.generated.features must be one of normal, simplex, got 'x'"),
        (
            "method.calibration=generated model.norm=batch train.bn_reestimation=8",
            "train.bn_reestimation must be 0 for method.calibration=generated, which reads no data, got 8",
        ),
    ],
)
def test_rules(words: str, line: str) -> None:
    with pytest.raises(ConfigError) as error:
        config_of("method=ptq", "quant=int4", *words.split())
    assert str(error.value) == line
