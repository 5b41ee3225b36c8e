"""Handles Ctrl-C and the signals by which a system ends a process in the same way."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

_ENDING = ("SIGTERM", "SIGHUP")
"""Asked to end: by `kill`, a scheduler or a shutdown; and by the terminal that is closed."""

_PR_SET_PDEATHSIG = 1  # prctl(2)
_POLL = 0.1  # seconds: an endless wait for a result may handle no signal

T = TypeVar("T")


class Ended(KeyboardInterrupt):
    """A signal other than that of Ctrl-C asked this process to end. Handlers of KeyboardInterrupt handle it too."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextmanager
def listening() -> Iterator[None]:
    """Inside the block SIGTERM and SIGHUP raise `Ended`, as Ctrl-C raises KeyboardInterrupt.

    A signal that is already handled or ignored (`nohup`) is left unchanged. Python handles signals in the main thread
    only: in other threads nothing changes.
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
    except Exception as error:
        raise_interruption(error)
        raise
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def interruptible(call: Callable[[], T]) -> T:
    """Runs a call that blocks inside a library, in another thread: this one handles signals meanwhile.

    Python handles a signal when its main thread runs Python's code again. If a signal ends the wait, the call goes on
    until the process ends.
    """
    from concurrent.futures import Future, wait  # here: most commands wait for no other process

    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(call())
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    while not result.done():
        wait([result], timeout=_POLL)
    return result.result()


def raise_interruption(error: BaseException) -> None:
    """Raises the KeyboardInterrupt that led to `error`, if there is one.

    A library that is interrupted in the middle of a change may fail while it cleans up (OmegaConf does). That failure
    arrives here, with the interruption as its context.
    """
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, KeyboardInterrupt):
        seen = seen.__context__
    if seen is not None:
        raise seen from None


def _end(number: int, frame: FrameType | None) -> None:
    raise Ended(number)


def exit_code(error: KeyboardInterrupt) -> int:
    """128 + the signal's number, as shells report a process that a signal ended: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + (error.number if isinstance(error, Ended) else signal.SIGINT)


def end_with(parent: int) -> None:
    """Lets Linux end this process with the one that started it, even while it is stopped and reads nothing.

    `parent`: the number of that process; if it has ended already, so does this one.
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
