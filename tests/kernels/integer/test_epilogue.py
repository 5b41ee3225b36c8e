"""What an epilogue refuses."""

from __future__ import annotations

import pytest
import torch

from dqrun.errors import ConfigError
from dqrun.kernels.integer import Epilogue

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
