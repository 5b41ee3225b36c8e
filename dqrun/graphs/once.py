"""`once`: a property that is computed when it is asked for the first time, and kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from functools import cached_property

    once = cached_property
else:

    def once(compute: Callable[[Any], Any]) -> property:
        """As `functools.cached_property`, without its lock, which `torch.compile` can't follow.

        While `torch.compile` traces nothing is kept: what is computed twice is one operation of the compiled graph.
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
