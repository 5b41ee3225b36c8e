"""The page on program files suffices: a reader that was written from it runs files as the engine does."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dqrun.bench.one_bit import of_one_bit
from dqrun.integer import load_program
from dqrun.integer.lower import lower
from dqrun.kernels.integer import Codes

Make = Callable[..., Any]
CASES = [
    ("gin", 8, {"norm": "batch", "mlp_norm": True, "residual": True, "readout": "max"}),
    ("gin", 4, {"categories": 4, "norm": "batch", "readout": "sum"}),
    ("gin", 4, {"encoder": "linear", "norm": "batch", "mlp_norm": True, "weight_granularity": "channel"}),
    ("gin", 5, {"encoder": "linear", "activation": "none", "norm": "batch"}),
    ("gcn", 8, {"norm": "batch", "activation": "elu", "residual": True}),
    ("gcn", 4, {"graph_level": False, "hidden": 7}),
    ("gcn", 8, {"weight_granularity": "channel"}),
    ("gcn", 3, {"encoder": "linear", "residual": True, "norm": "batch", "hidden": 5}),
    ("gat", 8, {"residual": True, "activation": "elu", "encoder": "linear"}),
    ("gat", 4, {"graph_level": False}),
    ("sage", 4, {"norm": "batch", "residual": True}),
    ("gin", 2, {"encoder": "linear", "norm": "batch", "mlp_norm": True, "residual": True, "hidden": 7}),
    ("gcn", 1, {"graph_level": False, "hidden": 9, "residual": True}),
    ("gin", 1, {"categories": 4, "norm": "batch", "residual": True, "readout": "sum", "hidden": 17}),
    ("gin", 1, {"rows": ("integer", "real"), "norm": "batch", "residual": True, "readout": "max"}),
    ("gin", 2, {"rows": ("real", "real"), "norm": "batch", "mlp_norm": True, "residual": True, "readout": "max"}),
    ("gin", 4, {"rows": ("integer", "power_of_two"), "categories": 4, "norm": "batch", "readout": "mean"}),
    ("gin", 8, {"rows": ("integer", "real"), "learned_scale": True, "encoder": "linear"}),
    ("gcn", 4, {"rows": ("inside", "real"), "activation": "elu", "residual": True, "graph_level": False}),
    ("sage", 2, {"rows": ("integer", "real"), "residual": True}),
    ("gat", 4, {"rows": ("integer", "real"), "graph_level": False}),
]


@pytest.mark.parametrize(("name", "bits", "options"), CASES)
def test_a_reader_written_from_the_page(
    trained: Make, random_graph: Make, tmp_path: Path, name: str, bits: int, options: dict[str, Any]
) -> None:
    reader = runpy.run_path(str(Path(__file__).with_name("page_reader.py")))["Program"]
    categories = options.get("categories", 0)
    program = lower(trained(name, max(bits, 2), max(bits, 2), **options), {"run": "r0"})
    (program if bits > 1 else of_one_bit(program)).save(path := tmp_path / "a.dqp")
    x, edge_index, batch = random_graph(40, 120, 3, seed=1, categories=categories)
    program = load_program(path)
    expected = program.trace(x, program.graph(edge_index, 40, batch))
    found = reader(path.read_bytes()).run(x.numpy(), edge_index.numpy(), batch.numpy())
    assert list(found) == list(expected)
    for site, value in expected.items():
        codes = value.unpack().numpy() if isinstance(value, Codes) else value.numpy()
        if name == "gat":  # sums of float32 in no fixed order
            assert np.abs(found[site] - codes).max() <= (1 if isinstance(value, Codes) else program.output_step.max())
            assert (found[site] == codes).mean() > 0.99 or site == "logits"
        else:
            assert np.array_equal(found[site], codes), site


def test_the_reader_knows_the_page_only() -> None:
    text = Path(__file__).with_name("page_reader.py").read_text(encoding="utf-8")
    assert "import dqrun" not in text and "from dqrun" not in text and "torch" not in text
