"""Two products and their sum, and means over edges: the compiled kernels against the definition, code by code."""

from __future__ import annotations

import pytest
import torch

from dqrun import kernels
from dqrun.graphs import CSR
from dqrun.kernels import integer
from dqrun.kernels.integer import CodeGrid, Codes, Epilogue, Weight


def codes(rows: int, channels: int, bits: int, generator: torch.Generator) -> Codes:
    grid = CodeGrid(bits, 0.1, 3)
    return Codes.of(torch.randint(grid.top + 1, (rows, channels), generator=generator), grid)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(("rows", "inputs", "others", "outputs"), [(1, 1, 5, 1), (61, 7, 130, 33), (0, 2, 2, 2)])
def test_both_versions_agree(bits: int, rows: int, inputs: int, others: int, outputs: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    x, y = codes(rows, inputs, bits, generator), codes(rows, others, 12 - bits, generator)
    first, second = (
        Weight(torch.randint(-7, 8, (outputs, size), generator=generator).to(torch.int8)) for size in (inputs, others)
    )
    ratio = torch.rand(outputs, generator=generator, dtype=torch.float64)
    csr = CSR.from_edge_index(torch.randint(max(rows, 1), (2, 3 * rows), generator=generator), rows)
    grid, results = CodeGrid(bits, 0.7, 5), []
    for version in ("reference", "cpu"):
        with kernels.use(version), kernels.ran() as ran:
            for epilogue in (Epilogue(torch.full((1,), 0.01, dtype=torch.float64), grid=each) for each in (grid, None)):
                results.append(integer.linear_pair(x, first, y, second, ratio, epilogue))
                results.append(integer.aggregate_mean(csr, x, epilogue))
        assert ran.name == version
    for expected, found in zip(results[:4], results[4:], strict=True):
        pair = (each.data if isinstance(each, Codes) else each for each in (expected, found))
        assert torch.equal(*pair)
