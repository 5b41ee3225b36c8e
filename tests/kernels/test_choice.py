"""Which version runs, and what happens without numba."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from dqrun import kernels
from dqrun.errors import ConfigError
from dqrun.graphs import CSR
from dqrun.kernels import choice, cpu, integer, reference

ONE = torch.ones(1)
LOOP = CSR.from_edge_index(torch.zeros(2, 1, dtype=torch.int64), 1)


@pytest.fixture
def broken_numba(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose compiled kernels cannot be loaded."""

    def fail(name: str) -> None:
        raise ImportError(f"no {name} here\nand a second line")

    choice._load_compiled.cache_clear()
    choice._warn_once.cache_clear()
    monkeypatch.setattr(choice.importlib, "import_module", fail)
    yield
    choice._load_compiled.cache_clear()
    choice._warn_once.cache_clear()


def test_auto_compiles_float32_on_the_cpu_only() -> None:
    assert choice.version(reference.spmm, ONE) is cpu.spmm
    assert choice.version(reference.spmm, ONE.double()) is reference.spmm
    assert choice.version(reference.spmm, ONE.to("meta")) is reference.spmm


def test_use_is_undone_at_the_end_and_nests() -> None:
    with kernels.use("reference"):
        assert choice.version(reference.spmm, ONE) is reference.spmm
        with kernels.use("cpu"):
            assert choice.version(reference.spmm, ONE) is cpu.spmm
        assert choice.version(reference.spmm, ONE) is reference.spmm
    assert choice.version(reference.spmm, ONE) is cpu.spmm


def test_use_names_the_options() -> None:
    with pytest.raises(ConfigError, match="kernels must be one of auto, reference, cpu, got 'gpu'"), kernels.use("gpu"):
        pass


@pytest.mark.usefixtures("broken_numba")
def test_auto_without_numba_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="dqrun"):
        for _ in range(2):
            assert choice.version(reference.spmm, ONE) is reference.spmm
    assert [record.getMessage() for record in caplog.records] == [
        "numba does not work (ImportError: no dqrun.kernels.cpu here): using the slower plain torch kernels"
    ]


def test_what_ran_is_told_while_and_after_it_runs() -> None:
    with kernels.ran() as outer:
        assert outer.name == ""
        with kernels.ran() as inside:
            kernels.edge_softmax(LOOP, ONE.view(1, 1).double())
            assert inside.name == ""  # there is no compiled version for float64
            kernels.edge_softmax(LOOP, ONE.view(1, 1))
        assert inside.name == outer.name == "cpu"
        with kernels.use("reference"):
            kernels.edge_softmax(LOOP, ONE.view(1, 1))
        assert (inside.name, outer.name) == ("cpu", "mixed")
    kernels.edge_softmax(LOOP, ONE.view(1, 1))
    with kernels.ran() as integers, kernels.use("reference"):
        integer.quantize(ONE.view(1, 1), integer.CodeGrid(8, 1.0, 0))
    assert integers.name == "reference"


@pytest.mark.usefixtures("broken_numba")
def test_a_fallback_to_the_reference_is_told() -> None:
    with kernels.ran() as found:
        kernels.edge_softmax(LOOP, ONE.view(1, 1))
    assert found.name == "reference"


@pytest.mark.usefixtures("broken_numba")
def test_cpu_without_numba_is_an_error_of_one_line() -> None:
    with pytest.raises(ConfigError, match="numba does not work") as error, kernels.use("cpu"):
        pass
    assert "\n" not in str(error.value)


def test_importing_the_seam_does_not_import_numba() -> None:
    code = "import sys, dqrun.kernels; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_reference_kernel_of_the_seam_has_a_compiled_version() -> None:
    not_kernels = {"Noise", "Range", "Rows", "ran", "recorded", "use"} | {
        "add_self",
        "summable",
    }  # the last are plain torch
    for name in set(kernels.__all__) - not_kernels:
        assert getattr(cpu, name).__annotations__ == getattr(reference, name).__annotations__


def test_backward_runs_in_the_version_of_forward() -> None:
    x = torch.ones(1, requires_grad=True)
    with kernels.use("cpu"):
        y = kernels.fake_quantize(x, torch.tensor(1.0), torch.tensor(0, dtype=torch.int32), -8, 7, None, "clipped")
    with kernels.use("reference"):
        assert y.grad_fn is not None and "kernels.cpu" in type(y.grad_fn)._forward_cls.__module__
        y.backward()
    assert x.grad is not None and x.grad.item() == 1
