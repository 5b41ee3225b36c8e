"""`Granularity`: which elements of a tensor share a scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dqrun.errors import ConfigError

KINDS = ("tensor", "channel", "row", "group")


@dataclass(frozen=True)
class Granularity:
    """The part of a tensor that has a scale and a zero point of its own.

    `kind`: "tensor", the whole tensor; "channel", one output channel of a weight; "row", a row (a node, or an edge) of
    an activation; "group", `size` neighbouring elements of a row. "channel" with a `size`: `size` neighbouring inputs
    of an output channel, see `Groups`.
    """

    kind: str = "tensor"
    size: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError.rule("granularity.kind", f"be one of {', '.join(KINDS)}", self.kind)
        least, sized = int(self.kind == "group"), self.kind in ("channel", "group")
        if self.size < least or (self.size and not sized):
            raise ConfigError.rule("granularity.size", "be > 0 for groups, 0 for tensors and rows", self.size)

    @property
    def per_row(self) -> bool:
        """Whether each row of an activation has scales of its own, which do not depend on other rows."""
        return self.kind in ("row", "group")

    def scale_shape(self, shape: Sequence[int], channels: Sequence[int]) -> tuple[int, ...]:
        """The shape of the scales of a weight, which broadcasts to the weight's `shape`; () for one scale.

        `channels`: the dimensions that number the output channels. Raises ConfigError if the scales of this granularity
        do not form a tensor that broadcasts.
        """
        if self.kind == "tensor":
            return ()
        if self.kind == "channel":
            return tuple(size if dim in channels else 1 for dim, size in enumerate(shape))
        raise ConfigError.rule("granularity.kind", "be tensor or channel for a weight", self.kind)


TENSOR, CHANNEL, ROW = Granularity("tensor"), Granularity("channel"), Granularity("row")
