"""One trial: what its times hold, and what is no result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dqrun.composition.compose import load_configs
from dqrun.config import RunConfig
from dqrun.data.dataset import GraphDataset, load_dataset
from dqrun.data.fingerprint import data_fingerprint
from dqrun.errors import TrialFailed
from dqrun.runs.outcome import Outcome
from dqrun.runs.protocol import Trial
from dqrun.training import trial as module
from dqrun.training.checkpoints import Checkpoints, Identity
from dqrun.training.loop import evaluate, require_finite
from dqrun.training.tasks import Task
from dqrun.training.trial import run_trial

SMALL = [
    *("dataset.graphs=12", "model.hidden=8", "train.epochs=3", "train.batch_size=6"),
    *("train.checkpoint_minutes=0", "kernels=reference"),
]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads of tiny operations wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def config_of(*words: str) -> RunConfig:
    (config,) = load_configs([*SMALL, *words])
    return config


@pytest.fixture(scope="module")
def dataset() -> GraphDataset:
    config = config_of()
    return load_dataset(config.dataset, config.data)


def run(config: RunConfig, dataset: GraphDataset, tmp_path: Path) -> Outcome:
    keeper = Checkpoints(tmp_path / "none.pt", config, lambda config: Identity("a", "0", "0", "0"))
    return run_trial(config, Trial(0), dataset, lambda epoch: None, keeper)


METHODS = {
    "dq": ["method=dq", "quant=int4"],
    "noisy": ["method=noisy", "quant=int4", "model.dropout=0.5"],
    "ptq": ["method=ptq", "quant=int8", "model.norm=batch", "train.bn_reestimation=8"],
    "learned": ["method.learned_scale=true", "method.delay_epochs=1", "method.observe_epochs=1"],
}


@pytest.mark.parametrize("words", METHODS.values(), ids=METHODS)
def test_warming_up_leaves_the_result_what_it_is(
    words: list[str], dataset: GraphDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(*words)
    calls: list[int] = []
    fit = module.fit
    monkeypatch.setattr(module, "fit", lambda *rest: calls.append(1) or fit(*rest))
    warm = run(config, dataset, tmp_path)
    assert len(calls) == 2
    monkeypatch.setattr(module, "warm_up", lambda *rest: None)
    cold = run(config, dataset, tmp_path)
    assert warm.model is not None and cold.model is not None
    ours, theirs = warm.model.state_dict(), cold.model.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert [epoch.train_loss for epoch in warm.result.history] == [epoch.train_loss for epoch in cold.result.history]


def test_seconds_are_of_training_and_the_rest_is_set_up(
    dataset: GraphDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def passing(seconds: float, call: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*rest: object) -> object:
            nonlocal now
            now += seconds
            return call(*rest)

        return wrapped

    monkeypatch.setattr("dqrun.training.trial.time.perf_counter", lambda: now)
    monkeypatch.setattr(module, "warm_up", passing(100, lambda *rest: None))
    monkeypatch.setattr(module, "make_network", passing(20, module.make_network))
    monkeypatch.setattr(module, "evaluate_integer", passing(3, module.evaluate_integer))
    monkeypatch.setattr(module, "fit", passing(1000, module.fit))
    monkeypatch.setattr(module, "evaluate", passing(10000, module.evaluate))
    config = config_of("plan=integer", "quant=int8", "evaluate.engine=integer", "threads=1")
    row = run(config, dataset, tmp_path).row
    assert (row.seconds, row.setup_seconds) == (31000, 123)


def test_a_row_names_its_data_and_the_kernels_that_ran(
    dataset: GraphDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "warm_up", lambda *rest: None)
    row = run(config_of(), dataset, tmp_path).row
    assert row.kernels == "reference" and row.data_fingerprint == data_fingerprint(dataset)


def test_a_metric_that_is_not_finite_is_a_failure(
    dataset: GraphDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = iter([(0.1, 0.9), (0.1, 0.9), (float("nan"), 0.5)])
    monkeypatch.setattr(module, "evaluate", lambda *rest: next(found))
    monkeypatch.setattr(module, "warm_up", lambda *rest: None)
    row = run(config_of(), dataset, tmp_path).row
    assert (row.status, row.reason) == ("failed", "test loss is not finite, got nan")
    assert row.train_metric is row.val_metric is row.test_metric is None and row.epochs == 3


@pytest.mark.parametrize(("loss", "metric", "name"), [(float("inf"), 1.0, "loss"), (1.0, float("nan"), "metric")])
def test_loss_and_metric_must_be_finite(loss: float, metric: float, name: str) -> None:
    with pytest.raises(TrialFailed, match=f"validation {name} is not finite in epoch 3, got (inf|nan)"):
        require_finite("validation", loss, metric, 3)
    require_finite("test", 1e30, 1e30)


class Fixed(torch.nn.Module):
    """A network that gives the logits it was made with."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, x: Tensor, graph: object) -> Tensor:
        return self.logits


def test_logits_that_are_not_finite_are_no_class() -> None:
    from types import SimpleNamespace

    batch = SimpleNamespace(x=None, graph=None, index=None, gather=None, y=torch.tensor([0, 0]))
    logits = torch.tensor([[float("nan"), float("nan")], [1.0, 0.0]])
    loss, _ = evaluate(Fixed(logits), [batch], Task("graph_classification"))  # type: ignore[list-item]
    with pytest.raises(TrialFailed):
        require_finite("test", loss)
