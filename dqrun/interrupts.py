"""Ending a command early: Ctrl-C, and the signals by which a system ends a process, are one case."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = ("SIGTERM", "SIGHUP")
"""Asked to end: by `kill`, a scheduler or a shutdown; and by the terminal that is closed."""


class Ended(KeyboardInterrupt):
    """A signal other than Ctrl-C's asked this process to end. What handles Ctrl-C handles it too."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextmanager
def listening() -> Iterator[None]:
    """Within the block SIGTERM and SIGHUP raise `Ended`, as Ctrl-C raises KeyboardInterrupt.

    A signal that somebody handles or ignores already (`nohup`) is left to that. Python handles signals in the main
    thread only: elsewhere nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    known = [number for name in _ENDING if (number := getattr(signal, name, None)) is not None]
    numbers = [number for number in known if signal.getsignal(number) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, _end)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _end(number: int, frame: FrameType | None) -> None:
    raise Ended(number)


def exit_code(error: KeyboardInterrupt) -> int:
    """128 + the signal's number, as shells report a process that a signal ended: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + (error.number if isinstance(error, Ended) else signal.SIGINT)
