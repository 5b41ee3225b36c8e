"""What ends a command early, and what is said of it."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from dqrun.process.interrupts import Ended, exit_code, interruptible, listening


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_to_end_is_like_ctrl_c(name: str) -> None:
    number = getattr(signal, name)
    before = signal.signal(number, signal.SIG_DFL)  # tests may be started with `nohup`
    try:
        with pytest.raises(KeyboardInterrupt) as caught, listening():
            signal.raise_signal(number)
        assert exit_code(caught.value) == 128 + number
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_an_error_of_clearing_up_does_not_hide_what_ended_the_command() -> None:
    with pytest.raises(Ended), listening():
        try:
            raise Ended(signal.SIGTERM)
        finally:
            raise AttributeError("half-made") from None
    with pytest.raises(ValueError, match="a mistake"), listening():
        raise ValueError("a mistake")


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with listening():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_outside_the_main_thread_nothing_changes() -> None:
    seen: list[object] = []

    def look() -> None:
        with listening():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]


def test_a_signal_ends_the_wait_for_a_call_that_blocks() -> None:
    enough, before = threading.Event(), signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(Ended), listening():
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
            interruptible(lambda: enough.wait(60))
    finally:
        enough.set()
        signal.signal(signal.SIGTERM, before)


def test_results_and_errors_of_the_call_arrive() -> None:
    def fail() -> None:
        raise TimeoutError("of the call itself")

    assert interruptible(lambda: 7) == 7
    with pytest.raises(TimeoutError, match="of the call itself"):
        interruptible(fail)


def test_exit_codes_are_those_of_shells() -> None:
    assert exit_code(KeyboardInterrupt()) == 130 and exit_code(Ended(signal.SIGTERM)) == 143
