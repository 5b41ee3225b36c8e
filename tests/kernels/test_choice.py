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
from dqrun.kernels import choice, cpu, integer

ONE = torch.ones(1)
LOOP = CSR.from_edge_index(torch.zeros(2, 1, dtype=torch.int64), 1)


@pytest.fixture
def broken_numba(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose compiled kernels cannot be loaded."""

    def fail(name: str) -> None:
        raise ImportError(f"no {name} here\nand a second line")

    choice.forget()
    monkeypatch.setattr(choice.importlib, "import_module", fail)
    yield
    choice.forget()


def version_of(x: torch.Tensor) -> str:
    """The version that runs for data like x."""
    with kernels.ran() as ran:
        kernels.edge_softmax(LOOP.to(x.device), x.view(1, 1))
    return ran.name


def test_auto_compiles_float32_on_the_cpu_only() -> None:
    assert version_of(ONE) == "cpu"
    assert version_of(ONE.double()) == version_of(ONE.to("meta")) == ""  # there is no compiled version for these


def test_use_is_undone_at_the_end_and_nests() -> None:
    with kernels.use("reference"):
        assert version_of(ONE) == "reference"
        with kernels.use("cpu"):
            assert version_of(ONE) == "cpu"
        assert version_of(ONE) == "reference"
    assert version_of(ONE) == "cpu"


def test_use_names_the_options() -> None:
    with pytest.raises(ConfigError, match="kernels must be one of auto, reference, cpu, got 'gpu'"), kernels.use("gpu"):
        pass


@pytest.mark.usefixtures("broken_numba")
def test_auto_without_numba_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="dqrun"):
        for _ in range(2):
            assert version_of(ONE) == "reference"
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


@pytest.fixture
def broken_softmax(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A compiled version that fails."""

    def fail(*args: object) -> None:
        raise RuntimeError("no memory\nand a second line")

    choice.forget()
    monkeypatch.setattr(cpu, "edge_softmax", fail)
    yield
    choice.forget()


@pytest.mark.usefixtures("broken_softmax")
@pytest.mark.parametrize("gradient", [False, True])
def test_an_operator_that_fails_falls_back_loudly_once(gradient: bool, caplog: pytest.LogCaptureFixture) -> None:
    logits = ONE.view(1, 1).clone().requires_grad_(gradient)
    with caplog.at_level(logging.WARNING, logger="dqrun"), kernels.ran() as ran:
        for _ in range(2):
            assert kernels.edge_softmax(LOOP, logits).item() == 1
    assert ran.name == "reference"
    assert [record.getMessage() for record in caplog.records] == [
        "dqrun::edge_softmax: RuntimeError: no memory: its compiled version failed, using the slower plain torch one"
    ]


@pytest.mark.usefixtures("broken_softmax")
def test_an_operator_that_fails_under_cpu_is_an_error() -> None:
    with kernels.use("cpu"), pytest.raises(RuntimeError, match="no memory"):
        kernels.edge_softmax(LOOP, ONE.view(1, 1))


def test_an_error_of_the_arguments_is_the_definitions_and_disables_nothing() -> None:
    with pytest.raises(RuntimeError):
        kernels.linear(torch.ones(2, 3), torch.ones(2, 4))
    assert not choice.failed()


def test_backward_runs_in_the_version_of_forward() -> None:
    x = torch.ones(1, requires_grad=True)
    found = []
    for forward, backward in (("cpu", "reference"), ("reference", "cpu")):
        with kernels.use(forward):
            y = kernels.fake_quantize(x, torch.tensor(1.0), torch.tensor(0, dtype=torch.int32), -8, 7, None, "clipped")
        with kernels.use(backward), kernels.ran() as ran:
            y.backward()
        found.append(ran.name)
        assert x.grad is not None and x.grad.item() == 1
        x.grad = None
    assert found == ["cpu", ""]  # torch's own derivatives run no operator
