"""Where instructions that the fast loops use are missing."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
import torch
from dqrun.graphs import CSR
from dqrun.kernels.integer import CodeGrid, Codes, Epilogue, Weight, cpu, reference
from dqrun.kernels.cpu import vector

assert not vector.HAS_VNNI and not vector.HAS_AVX512F
torch.manual_seed(0)
one, grid = torch.ones(1, dtype=torch.float64), CodeGrid(4, 1.0, 3)
x = Codes.of(torch.randint(0, 16, (9, 70)), grid)
csr = CSR.from_edge_index(torch.randint(0, 9, (2, 40)), 9)
weight = Weight(torch.randint(-127, 128, (83, 70), dtype=torch.int8))
assert torch.equal(cpu.linear(x, weight, Epilogue(one)), reference.linear(x, weight, Epilogue(one)))
a = torch.randn(2, 7, 10)
for concat in (True, False):
    ours = cpu.attention(csr, x, a[0], a[1], 0.2, concat, Epilogue(one))
    expected = reference.attention(csr, x, a[0], a[1], 0.2, concat, Epilogue(one))
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)  # logits of about 50 are rounded in float32
"""


def test_another_cpu_gives_the_same() -> None:
    """Compiled for a CPU with AVX2 only, in a process of its own: numba reads the name when it is imported."""
    environment = os.environ | {"NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": ""}
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
