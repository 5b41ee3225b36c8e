"""What an epilogue refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from dqrun.errors import ConfigError
from dqrun.kernels.integer import CodeGrid, Epilogue

ONE = torch.ones(1, dtype=torch.float64)


def test_unknown_activation() -> None:
    with pytest.raises(ConfigError, match=r"epilogue\.activation must be one of none, relu, elu, got 'gelu'"):
        Epilogue(ONE, activation="gelu")


def test_gain_without_offset() -> None:
    with pytest.raises(ConfigError, match=r"gain and epilogue\.offset must be given together"):
        Epilogue(ONE, gain=ONE)


@pytest.mark.parametrize("bad", [ONE.float(), ONE.view(1, 1)])
def test_parameters_are_float64_vectors(bad: torch.Tensor) -> None:
    with pytest.raises(ConfigError, match=r"epilogue\.bias must be float64 \[C\], got"):
        Epilogue(ONE, bias=bad)


def test_constants_are_folded_to_steps_of_the_grid() -> None:
    grid = CodeGrid(8, 0.25, 3)
    epilogue = Epilogue(2 * ONE, bias=3 * ONE, gain=5 * ONE, offset=7 * ONE, grid=grid)
    assert (epilogue.folded.multiplier.item(), epilogue.folded.gain) == (40.0, None)
    assert epilogue.folded.bias is not None and epilogue.folded.bias.item() == 88.0
    behind = replace(epilogue, pre_relu=True).folded
    assert behind.gain is not None and behind.offset is not None
    assert (behind.multiplier.item(), behind.gain.item(), behind.offset.item()) == (2.0, 20.0, 28.0)


@pytest.mark.parametrize("change", [{"grid": None}, {"activation": "elu"}])
def test_reals_and_an_elu_are_not_folded(change: dict[str, Any]) -> None:
    epilogue = replace(Epilogue(ONE, bias=ONE, grid=CodeGrid(8, 0.25, 3)), **change)
    assert epilogue.folded is epilogue and epilogue.residual_step == 1.0
