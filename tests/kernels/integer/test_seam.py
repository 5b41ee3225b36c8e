"""The interface of the integer kernels: which version runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from dqrun import kernels
from dqrun.kernels import integer
from dqrun.kernels.integer import cpu, reference

OPERATIONS = ("aggregate", "attention", "linear", "quantize", "segment_reduce")


@pytest.mark.parametrize("name", OPERATIONS)
def test_both_versions_have_the_same_arguments(name: str) -> None:
    assert getattr(cpu, name).__annotations__ == getattr(reference, name).__annotations__
    assert getattr(integer, name).__annotations__ == getattr(reference, name).__annotations__


def test_codes_and_floats_are_compiled_but_float64_is_not(make, random_graph) -> None:
    csr, x, weight, a = random_graph(9, 30), make.codes(9, 6, 4), make.weight(5, 6), torch.ones(2, 2, 3)

    def linear() -> None:
        integer.linear(x, weight, make.epilogue("plain", 9, 5, 4, 0.01))

    def attention(dtype: torch.dtype) -> None:
        integer.attention(csr, x, *a.to(dtype), 0.2, True, make.epilogue("plain", 9, 6, None, 0.1))

    with kernels.use("reference"):
        assert version_of(linear) == "reference"
    assert version_of(linear) == version_of(lambda: attention(torch.float32)) == "cpu"
    assert version_of(lambda: attention(torch.float64)) == ""


def version_of(operation: Callable[[], object]) -> str:
    with kernels.ran() as ran:
        operation()
    return ran.name


def test_the_profiler_shows_operations() -> None:
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        integer.quantize(torch.ones(2, 3), integer.CodeGrid(8, 1.0, 0))
    assert "dqrun::integer_quantize" in {event.key for event in recorded.key_averages()}


def test_every_operation_through_the_seam(make, random_graph) -> None:
    csr, x, weight = random_graph(9, 30), make.codes(9, 6, 4), make.weight(5, 6)
    ptr, index, a = torch.tensor([0, 4, 9]), torch.tensor([8, 0]), torch.ones(2, 2, 3)

    def results() -> list[integer.Codes | torch.Tensor]:
        return [
            integer.quantize(torch.ones(2, 3), make.grid(8)),
            integer.linear(x, weight, make.epilogue("plain", 9, 5, 4, 0.01)),
            integer.aggregate(csr, x, None, make.epilogue("plain", 9, 6, 4, 0.1)),
            integer.segment_reduce(x, ptr, "max", make.epilogue("plain", 2, 6, 4, 0.1)),
            integer.lookup(x, index),
        ]

    ours = results()
    floats = integer.attention(csr, x, a[0], a[1], 0.2, True, make.epilogue("plain", 9, 6, None, 0.1))
    with kernels.use("reference"):
        assert all(make.equal(one, other) for one, other in zip(ours, results(), strict=True))
        expected = integer.attention(csr, x, a[0], a[1], 0.2, True, make.epilogue("plain", 9, 6, None, 0.1))
    torch.testing.assert_close(floats, expected)


def test_importing_the_seam_does_not_import_numba() -> None:
    code = "import sys, dqrun.kernels.integer; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
