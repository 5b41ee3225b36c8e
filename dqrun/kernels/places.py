"""The position of this process's items among those of all processes that share a batch, for position-based draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Place = Callable[[int], tuple[int, int]]
"""Of so many items of this process: how many lie before them, and how many there are in all."""

_place: ContextVar[Place | None] = ContextVar("dqrun_place", default=None)


@contextmanager
def rows_of_all(place: Place) -> Iterator[None]:
    """Inside the block draws are the same as on the whole batch, of which this process has a part (see `ranks`)."""
    token = _place.set(place)
    try:
        yield
    finally:
        _place.reset(token)


def place_of(count: int) -> tuple[int, int]:
    """The index of the first of this process's `count` items among all, and the number of all; (0, count) for one
    process."""
    place = _place.get()
    return (0, count) if place is None else place(count)


def in_parts() -> bool:
    """Whether this process has a part of a batch."""
    return _place.get() is not None
