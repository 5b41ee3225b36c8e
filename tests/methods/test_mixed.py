"""`method=mixed`: a search for widths, then a training anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dqrun.analysis.networks import Datasets
from dqrun.analysis.rows import load_runs
from dqrun.config import RunConfig, SiteRule
from dqrun.errors import ConfigError, DataError
from dqrun.integer.lower import lower
from dqrun.integer.program import Program
from dqrun.methods import make_method
from dqrun.nn import GNN
from dqrun.quant import named_sites
from dqrun.runs.model_file import load_model, save_model
from dqrun.runs.outcome import Outcome, placed, record
from dqrun.runs.store import Results
from tests.methods.conftest import config_of

Run = Callable[[RunConfig], Outcome]
MIXED = ("quant=int8", "method=mixed", "method.search_epochs=2", "model.dropout=0.5", "method.preference_lr=1.0")


def widths_of(model: GNN) -> dict[str, int]:
    return {name: site.quantizer.spec.bits for name, site in named_sites(model) if site.quantizer is not None}


def network(outcome: Outcome) -> GNN:
    assert outcome.model is not None
    return outcome.model


def test_the_training_anew_is_that_of_a_trial_with_the_widths_found(run: Run) -> None:
    found = run(config_of(*MIXED, "method.cost=1e-3"))
    widths = widths_of(network(found))
    assert len(set(widths.values())) > 1
    plain_config = config_of("quant=int8", "method=lsq", "model.dropout=0.5")
    rules = plain_config.plan.rules | {name: SiteRule(bits=bits) for name, bits in widths.items()}
    plain = run(replace(plain_config, plan=replace(plain_config.plan, rules=rules)))
    assert widths_of(network(plain)) == widths
    wanted = [(epoch.train_loss, epoch.val_loss) for epoch in plain.result.history]
    assert [(epoch.train_loss, epoch.val_loss) for epoch in found.result.history[2:]] == wanted
    assert found.row.test_metric == plain.row.test_metric
    assert (found.row.average_bits, found.row.bit_operations) == (plain.row.average_bits, plain.row.bit_operations)
    assert (found.row.search_epochs, plain.row.search_epochs) == (2, None)
    assert found.row.search_seconds == round(sum(epoch.seconds for epoch in found.result.history[:2]), 3)


def test_a_dear_bit_gives_narrow_widths_and_a_free_one_does_not(run: Run) -> None:
    dear, free = (run(config_of(*MIXED, "plan=integer", f"method.cost={cost}")) for cost in (1e3, 0))
    assert dear.row.average_bits == 2.0
    assert free.row.average_bits is not None and free.row.average_bits > 2.0


@pytest.mark.parametrize("choice", ["softmax", "gumbel"])
def test_the_result_runs_as_a_program_of_mixed_widths(run: Run, choice: str, tmp_path: Path) -> None:
    words = ("plan=integer", "evaluate.engine=integer", f"method.choice={choice}", "method.cost=1e-3")
    config = config_of(*MIXED, *words)
    outcome = run(config)
    assert outcome.row.integer_agreement == 1.0
    assert outcome.row.test_metric_integer == outcome.row.test_metric
    assert outcome.shapes is not None
    path = tmp_path / "model.safetensors"
    save_model(path, network(outcome), config, outcome.shapes)
    loaded, _ = load_model(path)
    widths = widths_of(loaded)
    assert widths == widths_of(network(outcome)) and len(set(widths.values())) > 1
    assert stored_widths(lower(loaded)) <= set(widths.values())
    assert len(stored_widths(lower(loaded))) > 1


def test_costs_of_a_run_are_those_of_the_widths_found(run: Run, tmp_path: Path) -> None:
    config, results = config_of(*MIXED, "plan=integer", "method.cost=1e-3"), Results(tmp_path)
    outcome = placed(run(config), results)
    record(outcome, config, results)
    runs, complaints = load_runs([tmp_path])
    found = Datasets().costs(runs[0])
    assert complaints == [] and found.average_bits == pytest.approx(outcome.row.average_bits)
    assert 2 < found.average_bits < 8


def stored_widths(program: Program) -> set[int]:
    """Widths of the values that a program stores between operations."""
    grids = [getattr(getattr(each, "epilogue", each), "grid", None) for each in program.operations]
    return {grid.bits for grid in grids if grid is not None}


def test_a_model_file_with_a_candidate_that_is_not_there(run: Run, tmp_path: Path) -> None:
    config = config_of(*MIXED)
    outcome = run(config)
    model = network(outcome)
    name = next(name for name in model.state_dict() if name.endswith(".chosen"))
    model.get_buffer(name).fill_(3)
    assert outcome.shapes is not None
    save_model(tmp_path / "model.safetensors", model, config, outcome.shapes)
    with pytest.raises(DataError, match=r"chosen must be -1 or the number of a candidate, got 3"):
        load_model(tmp_path / "model.safetensors")


def test_candidates_are_no_wider_than_the_point(run: Run) -> None:
    model = network(run(config_of(*MIXED, "quant=w4a8", "method.search_epochs=1")))
    bits = {
        site.is_weight: [each.spec.bits for each in site.quantizer.candidates]
        for site in (site for _, site in named_sites(model))
        if site.quantizer is not None
    }
    assert bits == {True: [2, 4], False: [2, 4, 8]}


def test_the_released_gradient_is_another_training(run: Run) -> None:
    right, released = (run(config_of(*MIXED, f"method.scale_gradient={name}")) for name in ("lsq", "mixq"))
    assert right.result.history[0].train_loss == released.result.history[0].train_loss
    assert right.result.history[1].train_loss != released.result.history[1].train_loss


def test_preferences_have_a_rate_of_their_own() -> None:
    from dqrun.nn.build import build_model

    config = config_of(*MIXED, "train.weight_decay=0.1")
    model = build_model(config, 1, 0, 2)
    groups = make_method(config).parameter_groups(model, config.train)
    assert [group.get("lr") for group in groups] == [None, None, 1.0]
    assert [group.get("weight_decay") for group in groups] == [None, 0.0, 0.0]
    given = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(given) == len(set(given)) == len(list(model.parameters()))
    assert all(torch.equal(each, torch.zeros(3)) for each in groups[2]["params"])


@pytest.mark.parametrize(
    ("word", "rule"),
    [
        ("method.widths=[]", r"method.widths must be widths in 2..8, ascending, got \[\]"),
        ("method.widths=[4,2]", r"method.widths must be widths in 2..8, ascending"),
        ("method.widths=[1,2]", r"method.widths must be widths in 2..8, ascending"),
        ("method.choice=hard", r"method.choice must be one of softmax, gumbel"),
        ("method.temperature=0", r"method.temperature must be > 0"),
        ("method.cost=-1", r"method.cost must be >= 0"),
        ("method.search_epochs=0", r"method.search_epochs must be >= 1 or null"),
        ("method.preference_lr=0", r"method.preference_lr must be > 0"),
        ("method.scale_gradient=none", r"method.scale_gradient must be one of lsq, mixq"),
    ],
)
def test_rules(word: str, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        config_of("quant=int8", "method=mixed", word)


def test_widths_that_no_point_has_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"method.widths must hold a width of at most 4 bits"):
        config_of("quant=int4", "method=mixed", "method.widths=[8]")
