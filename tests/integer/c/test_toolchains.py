"""Libraries under other compilers and processors, and under sanitizers: `benchmarks/attacks/c_libraries.py` in small.

Where a compiler or an emulator is missing the test is skipped and says which.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

SANITIZED = "gcc -fsanitize=address,undefined -fno-sanitize-recover=all"
RISCV = "riscv64-linux-gnu-gcc -static"
THUMB = "arm-none-eabi-gcc -march=armv7-a -mthumb --specs=rdimon.specs"


@pytest.fixture(scope="module")
def attack(repository: Path) -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(repository / "benchmarks" / "attacks"))
        import c_libraries

        return c_libraries


def need(*programs: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


@pytest.mark.parametrize(
    ("network", "compiler", "emulator"),
    [
        ("gcn_int4", SANITIZED, ""),
        ("gcn_int8", "clang", ""),
        ("gin_int4", RISCV, "qemu-riscv64"),
        ("gat_int8", RISCV, "qemu-riscv64"),
        ("sage_int4", THUMB, "qemu-arm"),
    ],
)
def test_random_graphs_give_the_judges_logits(
    attack: ModuleType, tmp_path: Path, network: str, compiler: str, emulator: str
) -> None:
    need(compiler.split()[0], *emulator.split())
    library = attack.make_library(network)
    tried = list(attack.cases(library, 40, seed=2))
    assert len({case.status for case in tried}) >= 4
    program = attack.build(library, tmp_path, [*compiler.split(), *attack.FLAGS])
    assert attack.failures([*emulator.split(), str(program)], tried) == []


@pytest.mark.parametrize(
    ("cpu", "network"),
    [("cortex-m0", "gcn_int8"), ("cortex-m4", "gin_int4"), ("cortex-m0", "sage_int8"), ("cortex-m4", "gat_int8")],
)
def test_microcontrollers_take_the_source(attack: ModuleType, tmp_path: Path, cpu: str, network: str) -> None:
    """It compiles without a C library: `-ffreestanding`, and calls nothing but the compiler's own arithmetic."""
    need("arm-none-eabi-gcc", "arm-none-eabi-nm")
    attack.write_library(attack.make_library(network), tmp_path)
    words = ["arm-none-eabi-gcc", *attack.FLAGS, f"-mcpu={cpu}", "-mthumb", "-ffreestanding", "-c", f"{network}.c"]
    subprocess.run(words, cwd=tmp_path, check=True)
    listed = subprocess.run(["arm-none-eabi-nm", "-u", f"{network}.o"], cwd=tmp_path, check=True, capture_output=True)
    called = {line.split()[-1] for line in listed.stdout.decode().splitlines()}
    arithmetic = {name for name in called if name.startswith(("__aeabi_l", "__aeabi_i", "__aeabi_u"))}
    assert called - arithmetic <= {"memset", "memcpy"}, "no floats, no allocation"


def test_a_wrong_logit_and_a_read_beyond_the_end_are_noticed(attack: ModuleType, tmp_path: Path) -> None:
    need("gcc")
    library = attack.make_library("gcn_int8")
    tried = list(attack.cases(library, 12, seed=2))
    program = attack.build(library, tmp_path, [*SANITIZED.split(), *attack.FLAGS])
    last = next(i for i, case in reversed(list(enumerate(tried))) if case.status == 0 and case.nodes)
    wrong = [*tried]
    wrong[last] = replace(tried[last], logits=tried[last].logits + 1)
    (line,) = attack.failures([str(program)], wrong)
    assert line.startswith(f"graph {last}: logits")
    short = replace(tried[last], given=tried[last].given[:-1])
    (line,) = attack.failures([str(program)], [short])
    assert "heap-buffer-overflow" in line


def test_the_example_builds_with_cmake_and_runs(attack: ModuleType, tmp_path: Path) -> None:
    need("cmake", "cc")
    library = attack.make_library("gin_int4")
    attack.write_library(library, tmp_path)
    for words in (["cmake", "-S", ".", "-B", "build"], ["cmake", "--build", "build"]):
        subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    done = subprocess.run([str(tmp_path / "build" / "gin_int4_example")], check=True, capture_output=True, text=True)
    assert done.stdout.count("\n") == 1 and "* 2^-(" in done.stdout
