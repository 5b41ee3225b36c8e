"""Features of the processor for which kernels have two versions."""

from __future__ import annotations

from typing import Any

import llvmlite.binding
import numba


def _has(feature: str) -> bool:
    """Whether numba compiles for this processor, as it is, and it has a feature."""
    settings: Any = numba.config
    as_it_is = not settings.CPU_NAME and settings.CPU_FEATURES is None and settings.ENABLE_AVX
    return bool(as_it_is and llvmlite.binding.get_host_cpu_features().get(feature))


HAS_VNNI = _has("avx512vnni")
"""Whether 64 products of bytes can be made and added at once."""
HAS_AVX512F = _has("avx512f")
"""Whether 16 float32 can be put in any order at once."""
