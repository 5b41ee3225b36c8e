"""Scales of rows and factors of columns after training."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from dqrun import kernels
from dqrun.errors import ConfigError
from dqrun.graphs import SparseRows, dense
from dqrun.methods import make_method
from dqrun.methods.ptq import GeneratedConfig
from dqrun.nn.build import build_model
from dqrun.nn.columns import fit_columns, products
from dqrun.nn.generated import Sizes, generated_batch
from dqrun.quant import Phase, Quantizer, QuantSpec, RangeObserver, UniformRounding, named_sites
from dqrun.quant.column_quantizer import ColumnQuantizer
from dqrun.quant.plan import set_phase
from dqrun.runs.outcome import Outcome
from tests.methods.conftest import config_of

ROWS = "method=topgq", "quant=int4", "quant.activation_granularity=row"
SIZES = Sizes(5, 0, 3, graph_level=True, classes=True)
MADE = GeneratedConfig(nodes=60, graphs=4, degree=3.0, steps=0)


def network(*words: str) -> nn.Module:
    torch.manual_seed(0)
    return build_model(config_of(*ROWS, *words), 5, 0, 3).eval()


@pytest.mark.parametrize("plan", ["paper", "integer"])
@pytest.mark.parametrize("name", ["gcn", "gat", "gin", "sage", "gatv2"])
def test_factors_leave_the_network_in_full_precision(name: str, plan: str) -> None:
    model = network(f"model={name}", f"plan={plan}")
    batch = generated_batch(model, SIZES, MADE)
    sites = dict(named_sites(model))
    found = [product for product in products(model) if sites[product.weight].quantizer is not None]
    assert len(found) > 2 and all(isinstance(sites[product.weight].quantizer, ColumnQuantizer) for product in found)
    with torch.no_grad(), kernels.use("reference"):
        set_phase(model, Phase.BYPASS)
        exact = model(batch.x, batch.graph)
        fit_columns(model, [batch], 1.0)
        set_phase(model, Phase.CALIBRATE)
        torch.testing.assert_close(model(batch.x, batch.graph), exact, rtol=1e-4, atol=1e-5)
    for product in found:
        weight = sites[product.weight].quantizer.factor.flatten()
        operands = [sites[name].quantizer for name in product.operand if name in sites]
        factors = [operand.factor for operand in operands if operand is not None]
        assert factors
        for factor in factors:
            torch.testing.assert_close(factor * weight, torch.ones(product.channels))


def test_columns_of_what_is_rounded_reach_equally_far() -> None:
    model = network("model=gcn", "plan=integer", "model.layers=1")
    batch = generated_batch(model, SIZES, MADE)
    x = batch.x * torch.tensor([1.0, 10.0, 0.1, 0.0, 3.0])
    with kernels.use("reference"):
        fit_columns(model, [batch.__class__(batch.graph, x, batch.y)], 1.0)
    sizes = (x * model.states[0].quantizer.factor).abs().amax(0)
    torch.testing.assert_close(sizes[[0, 1, 2, 4]], sizes[0].expand(4))
    assert model.states[0].quantizer.factor[3] == 1


def test_columns_are_multiplied_before_rounding_and_divided_after() -> None:
    spec = QuantSpec(3, symmetric=True, narrow=True)
    plain = Quantizer(RangeObserver(spec, update="last_batch"), UniformRounding(spec))
    columns = ColumnQuantizer(Quantizer(RangeObserver(spec, update="last_batch"), UniformRounding(spec)), (3,))
    columns.factor.copy_(torch.tensor([1.0, 4.0, 0.5]))
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    expected = plain(x * columns.factor) / columns.factor
    torch.testing.assert_close(columns(x), expected)
    torch.testing.assert_close(dense(columns(SparseRows.of(x))), expected)
    torch.testing.assert_close(columns.round(x), expected)
    protected = torch.arange(20) == 3
    torch.testing.assert_close(columns(x, protected)[3], x[3])
    columns.phase = Phase.BYPASS
    assert torch.equal(columns(x), x)


@pytest.mark.parametrize("more", ["", "method.absorption=0", "method.calibration=generated model=gin"])
def test_a_trial(more: str, run: Callable) -> None:
    row = _row(run(config_of(*ROWS, "plan=integer", *more.split())))
    assert row.status == "done" and row.method == "topgq" and row.test_metric is not None


def _row(outcome: Outcome):  # type: ignore[no-untyped-def]
    return outcome.row


def test_programs_hold_rows_but_no_columns(run: Callable) -> None:
    words = *ROWS, "plan=integer", "evaluate.engine=integer", "model=gin"
    row = _row(run(config_of(*words, "method.absorption=0")))
    assert row.status == "done" and row.integer_agreement == 1.0
    with pytest.raises(ConfigError, match=r"equidistant values in an integer program, got ColumnQuantizer"):
        run(config_of(*words))


def test_without_rows_it_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"quant.activation_granularity must be row for method=topgq"):
        config_of("method=topgq", "quant=int4")
    with pytest.raises(ConfigError, match=r"method.absorption must be in \[0, 1\], got 1.5"):
        config_of(*ROWS, "method.absorption=1.5")
    assert make_method(config_of(*ROWS)).config.absorption == 1.0
