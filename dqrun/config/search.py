"""`Dimension`: a setting that `dqrun tune` varies, as configurations offer it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Dimension:
    """One setting and its range; drawn evenly in the logarithm with `log`."""

    name: str
    fields: tuple[str, ...]
    """The dotted fields that get the value."""
    low: float
    high: float
    default: float
    log: bool = True
    zero_below: float = 0.0
    """A smaller value stands for 0, which no logarithmic range holds."""
    whole: bool = False
    """Whole numbers only."""
    share_of: str = ""
    """The value is a share of that field's, so that it can't exceed it."""

    def describe(self) -> str:
        """E.g. `lr 0.0002 to 0.02`."""
        share = f" (share of {self.share_of})" if self.share_of else ""
        return f"{self.name} {self.low:g} to {self.high:g}{share}"


def around(name: str, where: tuple[str, ...], low: float, high: float, default: float, **more: Any) -> Dimension:
    """A fixed range, widened where the default lies outside; a default of 0 is the lower end."""
    return Dimension(name, where, min(low, default or low), max(high, default), max(low, default), **more)
