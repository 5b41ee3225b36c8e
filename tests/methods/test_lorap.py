"""Low-rank prompts: what they add, where, and what they leave."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from dqrun import kernels
from dqrun.errors import ConfigError
from dqrun.graphs import SparseRows
from dqrun.integer.lower import lower
from dqrun.methods.ptq import GeneratedConfig
from dqrun.nn import GNN
from dqrun.nn.build import build_model
from dqrun.nn.costs import Size, costs
from dqrun.nn.generated import Sizes, generated_batch
from dqrun.nn.prompt import Prompt
from dqrun.runs.model_file import Shapes, load_model, load_parameters, save_model
from dqrun.runs.outcome import Outcome
from tests.methods.conftest import config_of

SIZES = Sizes(5, 0, 3, graph_level=True, classes=True)
MADE = GeneratedConfig(nodes=40, graphs=4, degree=3.0, steps=0)


def network(*words: str) -> GNN:
    torch.manual_seed(0)
    return build_model(config_of("quant=int4", *words), 5, 0, 3)


def prompts(model: nn.Module) -> list[Prompt]:
    return [module for module in model.modules() if isinstance(module, Prompt)]


@pytest.mark.parametrize("plan", ["paper", "integer"])
@pytest.mark.parametrize("name", ["gcn", "gat", "gin", "sage", "gatv2"])
def test_a_network_begins_as_the_one_without_and_learns_both_factors(name: str, plan: str) -> None:
    where = f"model={name}", f"plan={plan}"
    plain, model = network("method=naive", *where), network("method=lorap", "method.rank=2", *where)
    batch = generated_batch(network("method=naive", *where), SIZES, MADE)
    model.load_state_dict(plain.state_dict(), strict=False)
    x = torch.where(batch.x > 1, batch.x, 0.0)
    found = prompts(model)
    assert len(found) == 2 and all(prompt.bank.shape == (2, prompt.choice.size(0)) for prompt in found)
    with kernels.use("reference"):
        if plan == "integer":  # with plan=paper aggregates may have a sign now, so that their grid differs
            given = []
            for each in (plain, model):
                torch.manual_seed(1)  # of dropout
                given.append(each(SparseRows.of(x), batch.graph))
            torch.testing.assert_close(*given)
        for prompt in found:
            nn.init.normal_(prompt.bank)
        y = model(SparseRows.of(x), batch.graph)
        y.square().sum().backward()
        torch.testing.assert_close(model.eval()(x, batch.graph), model(SparseRows.of(x), batch.graph))
    assert all(bool(p.grad.abs().sum() > 0) for prompt in found for p in (prompt.choice, prompt.bank))


def test_a_row_gets_a_mean_of_the_bank() -> None:
    prompt, rows = Prompt(6, 2), torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0))
    nn.init.normal_(prompt.bank)
    share = (rows.flatten(1) @ prompt.choice).softmax(1)
    expected = rows + (share[:, :1] * prompt.bank[0] + share[:, 1:] * prompt.bank[1]).view(4, 3, 2)
    torch.testing.assert_close(prompt(rows), expected)


@pytest.mark.parametrize("method", ["lorap", "lorap_dq"])
def test_a_trial(method: str, run: Callable[..., Outcome]) -> None:
    row = run(config_of("quant=int4", "model=gin", f"method={method}")).row
    assert row.status == "done" and row.method == method
    assert (row.p_max is None) == (method == "lorap")


def test_an_fp32_networks_parameters_leave_the_prompts(tmp_path: Path) -> None:
    config = config_of("quant=fp32", "model=gcn")
    torch.manual_seed(1)
    save_model(tmp_path / "model", build_model(config, 5, 0, 3), config, Shapes(5, 0, 3))
    model = network("method=lorap", "model=gcn")
    before = prompts(model)[0].choice.detach().clone()
    load_parameters(tmp_path / "model", model)
    assert torch.equal(prompts(model)[0].choice, before)
    assert torch.equal(model.layers[0].weight, load_model(tmp_path / "model")[0].layers[0].weight)


def test_what_it_costs() -> None:
    plain, model = network("method=naive", "model=gcn"), network("method=lorap", "model=gcn", "method.rank=3")
    size = Size(nodes=10, edges=30)
    more = sum(2 * prompt.choice.numel() for prompt in prompts(model))
    assert more and costs(model, size).macs - costs(plain, size).macs == 10 * more
    assert costs(model, size).model_bytes - costs(plain, size).model_bytes == 4 * more


def test_no_program_holds_it() -> None:
    with pytest.raises(ConfigError, match=r"evaluate.engine must be float for method=lorap, which adds real numbers"):
        config_of("method=lorap", "quant=int4", "plan=integer", "evaluate.engine=integer")
    with pytest.raises(ConfigError, match=r"layers.0.aggregate must be what edges sum in an integer program"):
        lower(network("method=lorap", "plan=integer", "model=gcn"))
    with pytest.raises(ConfigError, match=r"method.rank must be >= 1, got 0"):
        config_of("method=lorap", "quant=int4", "method.rank=0")
