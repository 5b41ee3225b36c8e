"""Where the items of this process lie among those of all processes that share a batch, for draws by an item's place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Place = Callable[[int], tuple[int, int]]
"""Of so many items of this process: how many lie before them, and how many there are in all."""

_place: ContextVar[Place | None] = ContextVar("dqrun_place", default=None)


@contextmanager
def rows_of_all(place: Place) -> Iterator[None]:
    """Inside it draws are made as on the whole batch, of which this process has a part (see `ranks`)."""
    token = _place.set(place)
    try:
        yield
    finally:
        _place.reset(token)


def place_of(count: int) -> tuple[int, int]:
    """Where `count` items of this process begin among all, and how many all are: (0, count) for one process."""
    place = _place.get()
    return (0, count) if place is None else place(count)


def in_parts() -> bool:
    """Whether this process has a part of a batch."""
    return _place.get() is not None
