"""`once`: a property that is computed at its first use and cached."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from functools import cached_property

    once = cached_property
else:

    def once(compute: Callable[[Any], Any]) -> property:
        """As `functools.cached_property`, without its lock, which `torch.compile` does not support.

        While `torch.compile` traces, nothing is cached; the compiler merges repeated computations.
        """
        name = compute.__name__

        def get(self: Any) -> Any:
            if torch.compiler.is_compiling():
                return compute(self)
            kept = self.__dict__
            if name not in kept:
                kept[name] = compute(self)
            return kept[name]

        return property(get, doc=compute.__doc__)
