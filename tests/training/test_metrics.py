"""Metrics are held against scikit-learn; they are the same however the rows are cut into batches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
import pytest
import torch
import torchmetrics
from sklearn import metrics as sk
from torchmetrics.functional import classification as functional

from dqrun import register
from dqrun.config import DatasetConfig
from dqrun.errors import ConfigError, TrialFailed
from dqrun.training import curves
from dqrun.training.judging import baseline, constant_logits, recorded_metrics
from dqrun.training.metrics import Collected, higher_is_better, make_metric, value_of
from dqrun.training.tasks import Task

ROWS = 60
CUTS = (1, 20, 39)


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def of(name: str, logits: torch.Tensor, y: torch.Tensor, cuts: tuple[int, ...] = CUTS) -> float:
    """A metric over batches of the given sizes."""
    metric, start = make_metric(name), 0
    for size in cuts:
        metric.update(logits[start : start + size], y[start : start + size])
        start += size
    return value_of(name, metric)


@pytest.mark.parametrize("classes", [2, 4])
def test_classification(classes: int) -> None:
    logits, y = random(0, ROWS, classes), random(1, ROWS, classes + 1)[:, :classes].argmax(-1)
    said, scores = logits.argmax(-1).numpy(), logits.double().softmax(-1).numpy()
    expected = {
        "accuracy": sk.accuracy_score(y, said),
        "balanced_accuracy": sk.balanced_accuracy_score(y, said),
        "f1_macro": sk.f1_score(y, said, average="macro"),
        "f1_micro": sk.f1_score(y, said, average="micro"),
        "roc_auc": sk.roc_auc_score(y, scores[:, 1] if classes == 2 else scores, multi_class="ovr"),
        "average_precision": sk.average_precision_score(y, scores[:, 1] if classes == 2 else scores),
    }
    assert set(expected) == set(Task("graph_classification").recorded)
    for name, value in expected.items():
        assert of(name, logits, y) == pytest.approx(value, abs=1e-6), name
        assert of(name, logits, y, (ROWS,)) == pytest.approx(value, abs=1e-6), name


@pytest.mark.parametrize("seed", range(8))
def test_counts_and_curves_are_those_of_torchmetrics_bit_for_bit(seed: int) -> None:
    """Published rows were computed by torchmetrics: not even the last bit may differ."""
    classes, rows = 2 + seed % 4, 20 + 50 * seed
    logits, y = (4 * random(seed, rows, classes)).round() / 4, random(seed + 100, rows, classes).argmax(-1)
    y[y == max(2, classes - 1)] = 0  # a class that may be said and has no member
    said, options = logits.argmax(-1), {"num_classes": classes, "validate_args": False}
    for average in ("macro", "micro"):
        theirs = functional.multiclass_f1_score(said, y, average=average, **options)
        assert of(f"f1_{average}", logits, y, (rows,)) == float(theirs)
    recalls = functional.multiclass_recall(said, y, average="none", **options)
    members = torch.bincount(y, minlength=classes) > 0
    assert of("balanced_accuracy", logits, y, (rows,)) == float(recalls[members].double().mean())
    scores, one = logits[:, 0].double().sigmoid(), (y == 0).long()  # rounded logits: many scores are equal
    assert curves.area_under_roc(scores, one) == float(functional.binary_auroc(scores, one))
    assert curves.average_precision(scores, one) == float(functional.binary_average_precision(scores, one))


@pytest.mark.parametrize("average", ["macro", "micro"])
def test_f1_of_labels_is_that_of_torchmetrics_bit_for_bit(average: Literal["macro", "micro"]) -> None:
    logits, y = random(3, ROWS, 5), (random(4, ROWS, 5) > 0).float()
    y[random(5, ROWS, 5) > 1] = math.nan
    y[:, 4], logits[:, 4] = 0, -1.0  # a label that is neither there nor said
    said, known = (logits > 0).long(), y.nan_to_num(nan=-1).long()
    theirs = functional.multilabel_f1_score(said, known, 5, average=average, ignore_index=-1)
    assert of(f"f1_{average}", logits, y, (ROWS,)) == float(theirs)


def test_balanced_accuracy_leaves_out_classes_without_members() -> None:
    logits = torch.tensor([[9.0, 0, 0], [0, 0, 9], [0, 9, 0]])
    assert of("balanced_accuracy", logits, torch.tensor([0, 1, 1]), (3,)) == pytest.approx(0.75)


def test_saturated_scores_keep_their_order() -> None:
    logits = torch.stack([torch.zeros(4), torch.tensor([20.0, 21, 22, 23])], dim=1)
    assert of("roc_auc", logits, torch.tensor([0, 0, 1, 1]), (2, 2)) == 1.0


def test_labels_that_are_not_known_do_not_count() -> None:
    logits, y = random(2, ROWS, 3), (random(3, ROWS, 3) > 0).float()
    y[::3, 0], y[::2, 2] = math.nan, math.nan
    y[:, 1] = 1  # without a negative: no ranking
    known = ~y.isnan()
    columns = [(y[known[:, c], c].numpy(), logits[known[:, c], c].numpy()) for c in (0, 2)]
    assert of("roc_auc", logits, y) == pytest.approx(np.mean([sk.roc_auc_score(*each) for each in columns]))
    precision = np.mean([sk.average_precision_score(*each) for each in columns])
    assert of("average_precision", logits, y) == pytest.approx(precision)
    flat = y[known].numpy(), (logits[known] > 0).numpy()
    assert of("accuracy", logits, y) == pytest.approx(sk.accuracy_score(*flat))
    assert of("f1_micro", logits, y) == pytest.approx(sk.f1_score(*flat), abs=1e-6)
    single = [sk.f1_score(y[known[:, c], c], logits[known[:, c], c] > 0) for c in range(3)]
    assert of("f1_macro", logits, y) == pytest.approx(np.mean(single), abs=1e-6)


def test_regression() -> None:
    logits, y = random(4, ROWS, 1), random(5, ROWS)
    pair = y.numpy(), logits.squeeze(-1).numpy()
    assert of("mae", logits, y) == pytest.approx(sk.mean_absolute_error(*pair), rel=1e-6)
    assert of("rmse", logits, y) == pytest.approx(sk.root_mean_squared_error(*pair), rel=1e-6)
    assert of("r2", logits, y) == pytest.approx(sk.r2_score(*pair), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "y"),
    [("roc_auc", torch.ones(3, dtype=torch.int64)), ("roc_auc", torch.full((3, 2), math.nan)), ("r2", torch.ones(3))],
)
def test_a_metric_that_is_not_defined_is_nan(name: str, y: torch.Tensor) -> None:
    assert math.isnan(of(name, random(6, 3, 1 if name == "r2" else 2), y, (3,)))


def test_a_multilabel_loss_is_the_mean_over_the_known_labels() -> None:
    task = Task("node_multilabel")
    logits, y = torch.tensor([[0.3, -1.0], [2.0, 0.5]], requires_grad=True), torch.tensor([[1, math.nan], [0, 1]])
    loss = task.loss(logits, y)
    terms = [(0.3, 1.0), (2.0, 0.0), (0.5, 1.0)]
    expected = sum(math.log1p(math.exp(x)) - t * x for x, t in terms) / 3
    assert loss.item() == pytest.approx(expected) and task.count(y) == 3
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None and logits.grad[0, 1] == 0 and bool(logits.grad.isfinite().all())
    nothing = torch.full((2, 2), math.nan)
    assert task.loss(logits, nothing).item() == 0 and task.count(nothing) == 0


def test_all_metrics_are_recorded_and_the_one_that_decides_is_taken_over() -> None:
    task, rows = Task("node_classification", "f1_macro"), Collected()
    rows.update(random(7, 5, 3), torch.tensor([0, 0, 0, 0, 0]))
    found = recorded_metrics(task, rows, 0.125)
    assert tuple(found) == task.recorded and found["f1_macro"] == 0.125 and found["roc_auc"] is None
    assert found["accuracy"] is not None and 0 <= found["accuracy"] <= 1


@pytest.mark.parametrize(
    ("task", "train", "test", "expected"),
    [
        (Task("graph_classification"), [0, 2, 2], [2, 2, 1, 2], 0.75),
        (Task("graph_classification", "balanced_accuracy"), [0, 2, 2], [2, 2, 1, 2], 0.5),
        (Task("node_classification", "roc_auc"), [0, 1, 1], [0, 1, 1], 0.5),
        (Task("graph_regression"), [0.0, 1.0, 2.0, 9.0], [1.5, 2.5], 0.5),
        (Task("graph_regression", "rmse"), [0.0, 1.0, 2.0, 9.0], [4.0, 2.0], 1.0),
        (Task("graph_multilabel"), [[1.0, 0], [1, 1]], [[1.0, 0], [0, 1]], 0.5),
        (Task("graph_multilabel", "accuracy"), [[1, math.nan], [1, 0]], [[1.0, 0], [0, 1]], 0.5),
        (Task("node_classification", "roc_auc"), [0, 1, 1], [1, 1, 1], None),
    ],
)
def test_the_baseline_is_what_a_constant_prediction_reaches(
    task: Task, train: list[float], test: list[float], expected: float | None
) -> None:
    width = 3 if task.name.endswith("classification") else 2 if task.multilabel else 1
    width = 2 if task.metric == "roc_auc" else width
    found = baseline(task, torch.tensor(train), torch.tensor(test), width)
    assert found == (None if expected is None else pytest.approx(expected))


def test_the_constant_of_classes_has_a_logit_for_each() -> None:
    assert constant_logits(Task("node_classification"), torch.tensor([0, 0, 1]), 4).shape == (1, 4)


@pytest.fixture
def own() -> Iterator[None]:
    """Metrics of a user's: a function, a class of torchmetrics, and one that does not say its direction."""

    @register.metric("worst", higher_is_better=False)
    def worst(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (logits.squeeze(-1) - y).abs().max()

    @register.metric("squares")
    class Squares(torchmetrics.MeanSquaredError):
        def update(self, logits: torch.Tensor, y: torch.Tensor) -> None:
            super().update(logits.squeeze(-1), y)

    @register.metric("vague")
    def vague(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return logits

    yield
    for name in ("worst", "squares", "vague"):
        register.metric.remove(name)


def test_a_user_s_metric_decides(own: None) -> None:
    logits, y = random(8, ROWS, 1), random(9, ROWS)
    assert of("worst", logits, y) == pytest.approx(float((logits.squeeze(-1) - y).abs().max()))
    assert of("squares", logits, y) == pytest.approx(float((logits.squeeze(-1) - y).square().mean()))
    assert not higher_is_better("worst") and not higher_is_better("squares")
    DatasetConfig("a", "tu", "graph_regression", metric="worst").validate()
    with pytest.raises(ConfigError, match=r"dataset\.metric must be a metric that says its direction: .*, got 'vague'"):
        higher_is_better("vague")
    with pytest.raises(TrialFailed, match=r"dataset\.metric=vague must give one number, got a tensor"):
        of("vague", logits, y)


@pytest.mark.parametrize(
    ("task", "metric", "message"),
    [
        ("graph_regression", "accuracy", "must be one of mae, rmse, r2 for graph_regression, got 'accuracy'"),
        ("node_multilabel", "balanced_accuracy", "must be one of roc_auc, .* for node_multilabel"),
        ("node_classification", "rocauc", r"must be one of .*roc_auc.*got 'rocauc'"),
    ],
)
def test_a_metric_that_does_not_fit_is_refused(task: str, metric: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"dataset\.metric {message}"):
        DatasetConfig("a", "tu", task, metric=metric).validate()
