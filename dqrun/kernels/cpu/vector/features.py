"""Features of the processor for which kernels have two versions."""

from __future__ import annotations

from typing import Any

import llvmlite.binding
import numba


def _has(feature: str) -> bool:
    """Whether numba compiles for this processor without restrictions, and the processor has a feature."""
    settings: Any = numba.config
    as_it_is = not settings.CPU_NAME and settings.CPU_FEATURES is None and settings.ENABLE_AVX
    return bool(as_it_is and llvmlite.binding.get_host_cpu_features().get(feature))


HAS_VNNI = _has("avx512vnni")
"""Whether one instruction computes and adds 64 products of bytes."""
HAS_AVX512F = _has("avx512f")
"""Whether the processor has AVX-512F, which permutes 16 float32 with one instruction."""
