"""Programs with the fixed-point rule beside the same programs with the float64 one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from dqrun import kernels
from dqrun.errors import ConfigError, DataError
from dqrun.integer.lower import lower
from dqrun.kernels.integer import Codes

Make = Callable[..., Any]

NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("gcn", {"residual": True, "norm": "batch"}),
    ("gin", {"mlp_norm": True, "norm": "batch", "residual": True}),
    ("gin", {"categories": 4, "readout": "max"}),
    ("sage", {"readout": "sum", "weight_granularity": "channel"}),
    ("gat", {"activation": "elu"}),
    ("gat", {"graph_level": False, "residual": True}),
]


@pytest.mark.parametrize(("name", "options"), NETWORKS)
@pytest.mark.parametrize("bits", [4, 8])
def test_codes_are_nearly_those_of_the_float64_rule(
    trained: Make, random_graph: Make, name: str, options: dict[str, Any], bits: int
) -> None:
    program = lower(trained(name, weight_bits=bits, activation_bits=bits, **options))
    x, edge_index, batch = random_graph(80, 300, 4, seed=3, categories=options.get("categories", 0))
    graph, fixed = program.graph(edge_index, 80, batch), program.with_epilogue("fixed")
    with kernels.use("reference"):  # nothing is compiled for this
        values, expected = fixed.trace(x, graph), program.trace(x, graph)
    assert list(values) == list(expected)
    for site, value in values.items():
        judge = expected[site]
        if isinstance(value, Codes) and isinstance(judge, Codes):
            apart = (value.unpack().int() - judge.unpack().int()).abs()
            assert int(apart.max()) <= 1 and float(apart.float().mean()) < 2e-3, site
    logits = values["logits"]
    assert isinstance(logits, torch.Tensor) and logits.dtype == torch.int32 and int(logits.abs().max()) > 10_000
    assert torch.equal(fixed.run(x, graph), (logits.double() * fixed.logit_scale).float())
    assert isinstance(expected["logits"], torch.Tensor)
    torch.testing.assert_close(fixed.run(x, graph), expected["logits"], atol=0.05, rtol=0.05)


def test_batches_do_not_matter(trained: Make, random_graph: Make) -> None:
    """A graph alone gives the logits that it gives in a batch: no unit depends on the data."""
    program = lower(trained("gin")).with_epilogue("fixed")
    x, edge_index, batch = random_graph(40, 0, 4, seed=3)
    own = torch.stack([program(x[batch == i], edge_index)[0] for i in range(4)])
    assert torch.equal(program(x, edge_index, batch), own)


def test_what_is_in_floats(trained: Make) -> None:
    program = lower(trained("gat"))
    assert program.with_epilogue("fixed").in_floats == ["rounding of features (float32): states.0"]
    assert lower(trained("gcn", categories=3)).with_epilogue("fixed").in_floats == []


def test_what_has_no_fixed_point_form_is_refused(trained: Make, random_graph: Make) -> None:
    with pytest.raises(ConfigError, match=r"^states\.1: an operation DynamicAttention has no fixed-point form"):
        lower(trained("gatv2")).with_epilogue("fixed")
    with pytest.raises(ConfigError, match="epilogue must be one of float64, fixed, got 'float32'"):
        lower(trained("gcn")).with_epilogue("float32")
    x, edge_index, batch = random_graph(10, 20, 1, seed=3)
    with pytest.raises(DataError, match="edge_weight must be None with epilogue=fixed"):
        lower(trained("gcn")).with_epilogue("fixed")(x, edge_index, batch, torch.ones(20))


def test_rows_with_ranges_of_their_own_have_no_fixed_point_form(trained: Make) -> None:
    program = lower(trained("gcn", rows=("integer", "real")))
    with pytest.raises(ConfigError, match=r"^states\.0: rows with ranges of their own have no fixed-point form"):
        program.with_epilogue("fixed")
