"""The main function of a worker process: takes trials from its standard input until that ends."""

from __future__ import annotations

import logging
import os
import pickle
import queue
import signal
import threading
from multiprocessing.connection import Connection
from typing import Any

from dqrun.process.verbosity import is_verbose
from dqrun.sweep.launchers.pool import Parcel, attempt


def main() -> None:
    """Runs trials until standard input is closed; ignores signals to the process group, such as Ctrl-C."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    jobs, answers = _connections()
    _log_to(answers)
    waiting: queue.SimpleQueue[Parcel] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(jobs, waiting), daemon=True).start()
    answers.send("ready")
    while True:
        _answer(waiting.get(), answers)


def _answer(parcel: Parcel, answers: Connection[Any, Any]) -> None:
    """Runs a trial and sends its result, or the exception that it raised."""
    try:
        said: Any = attempt(parcel, answers.send)
        content = pickle.dumps(said)
    except Exception as error:
        content = _pickled(error)
    answers.send_bytes(content)


def _pickled(error: Exception) -> bytes:
    """An exception for the other process; a RuntimeError if its own class can't be sent."""
    try:
        content = pickle.dumps(error)
        pickle.loads(content)
        return content
    except Exception:
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))


def _connections() -> tuple[Connection[Any, Any], Connection[Any, Any]]:
    """Standard input and output, reserved for messages: from now on `print` writes to standard error."""
    jobs, answers = Connection(os.dup(0), writable=False), Connection(os.dup(1), readable=False)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return jobs, answers


class _Lines(logging.Handler):
    """Sends log records of this process to the process of the command."""

    def __init__(self, answers: Connection[Any, Any]) -> None:
        super().__init__()
        self._answers = answers

    def emit(self, record: logging.LogRecord) -> None:
        self._answers.send(record.getMessage())


def _log_to(answers: Connection[Any, Any]) -> None:
    """Forwards log records of dqrun's modules if the command has `-v`; all trials run in this thread."""
    if is_verbose():
        logger = logging.getLogger("dqrun")
        logger.setLevel(logging.INFO)
        logger.addHandler(_Lines(answers))


def _receive(jobs: Connection[Any, Any], waiting: queue.SimpleQueue[Parcel]) -> None:
    """Reads trials in a thread, so that the end of the other process is noticed while a trial runs."""
    while True:
        try:
            waiting.put(jobs.recv())
        except (EOFError, OSError):
            os._exit(1)
