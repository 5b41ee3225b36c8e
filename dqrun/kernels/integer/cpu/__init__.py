"""The integer kernels compiled with numba for the CPU; the contract is `dqrun.kernels.integer`'s."""

from __future__ import annotations

from dqrun.kernels.integer.reference import aggregate, attention, linear, quantize, segment_reduce

__all__ = ["aggregate", "attention", "check", "linear", "quantize", "segment_reduce"]


def check() -> None:
    """Raises whatever a numba that does not work raises."""
