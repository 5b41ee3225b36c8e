"""Programs on CPUs without AVX-512, whose vector code is another one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dqrun.bench.one_bit import of_one_bit
from dqrun.integer.lower import lower

CODE = """
import sys, torch, dqrun
from dqrun import kernels
from dqrun.kernels.integer import Codes
from dqrun.kernels.cpu import vector

assert not vector.HAS_VNNI and not vector.HAS_AVX512F
program = dqrun.load_program(sys.argv[1])
x, edges = torch.randn(50, program.signature.in_channels), torch.randint(50, (2, 200))
graph = program.graph(edges, 50, torch.arange(50) // 20)
with kernels.use("cpu"):
    ours = program.trace(x, graph)
with kernels.use("reference"):
    theirs = program.trace(x, graph)
for name, value in theirs.items():
    same = ours[name].data if isinstance(value, Codes) else ours[name]
    assert torch.equal(same, value.data if isinstance(value, Codes) else value), name
print(len(theirs))
"""


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_cpu_with_avx2_gives_the_same_codes(trained: Callable[..., Any], tmp_path: Path, bits: int) -> None:
    """GIN's operations (the others' too, but for GAT's attention), by compiled kernels and by the reference."""
    path = tmp_path / "gin.dqp"
    program = lower(trained("gin", max(bits, 2), max(bits, 2), layers=1, mlp_norm=True, residual=True, hidden=5))
    (program if bits > 1 else of_one_bit(program)).save(path)
    environment = os.environ | {"NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": ""}
    command = [sys.executable, "-c", CODE, str(path)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "7\n"
