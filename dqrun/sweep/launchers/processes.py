"""Worker processes of this machine: each is sent trials by its standard input, and answers on its standard output.

A worker runs `dqrun.sweep.launchers.serve` with the import path of this process, without the present folder: a
`queue.py` there does not replace a module of Python. Its input is closed when this process ends for any reason, and
then the worker ends too.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from multiprocessing import Pipe
from types import MappingProxyType
from typing import Any

from dqrun.errors import DqrunError
from dqrun.sweep.launchers.pool import Answer, Died, Heard, Job, tail_of

log = logging.getLogger(__name__)
_SERVE = (
    "import sys; sys.path[:] = {path}; from dqrun.process.interrupts import end_with; end_with({parent}); "
    "from dqrun.sweep.launchers.serve import main; main()"
)
"""The first import is light: a worker whose parent dies at once does not import torch for nobody."""
_HINTS = {"SIGKILL": " (by a person, or by the system for lack of memory)"}


class NoWorker(DqrunError):
    """A worker process ended before it could take a trial: no trial caused it."""

    exit_code = 2


class WorkerProcess:
    """One worker, which runs trials one after the other and keeps its dataset and compiled kernels."""

    def __init__(self, name: str = "its process", environment: Mapping[str, str] = MappingProxyType({})) -> None:
        """`name`: for messages about its death; `environment`: variables in addition to those of this process."""
        self._name = name
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        theirs_in, self._jobs = Pipe(duplex=False)
        self._answers, theirs_out = Pipe(duplex=False)
        self._ready = False
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _SERVE.format(path=sys.path, parent=os.getpid())],
            stdin=theirs_in.fileno(),
            stdout=theirs_out.fileno(),
            stderr=self._errors,
            env={**os.environ, **environment},
        )
        for end in (theirs_in, theirs_out):
            end.close()
        log.info("worker process %d started", self._process.pid)

    def send(self, job: Job) -> None:
        """Sends a trial; if the worker is dead, `receive` raises."""
        log.info("%s goes to worker process %d", job.planned.name, self._process.pid)
        try:
            self._jobs.send(job.parcel())
        except OSError:  # it died in between
            return

    def receive(self) -> Any:
        """The next message of the worker: a Heard, an Answer, an exception, or None if there is none.

        Raises Died if the worker is dead and all messages were read, NoWorker if it died at its start.
        """
        try:
            while self._answers.poll():
                said = self._answers.recv()
                if not isinstance(said, str):
                    return said
                self._ready = True
                log.info("worker process %d: %s", self._process.pid, said)
        except (EOFError, OSError):
            raise self._death() from None
        return None

    def task(self, ended: Callable[[bool], None], listen: Callable[[Heard], None]) -> ProcessTask:
        """The trial that was sent last."""
        return ProcessTask(self, ended, listen)

    def stop(self) -> None:
        """Kills the worker; its present trial keeps its checkpoint."""
        self._process.kill()
        self._process.wait()
        for thing in (self._jobs, self._answers, self._errors):
            thing.close()

    def _death(self) -> Exception:
        """The cause of this worker's death, from its exit code and its last output."""
        code = self._process.wait()
        self._errors.seek(0)
        wrote = self._errors.read().decode(errors="replace")
        cause = cause_of_death(code, wrote)
        log.info("worker process %d died: %s", self._process.pid, cause)
        if not self._ready:
            return NoWorker(f"a worker process could not start: {cause}")
        return Died(f"{self._name} died: {cause}", tail_of(wrote) or cause)


def cause_of_death(code: int, wrote: str) -> str:
    """Short description of a process's end: the signal, or the exit code and the last line on stderr."""
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"killed by {name}{_HINTS.get(name, '')}"
    last = tail_of(wrote.strip(), 1)
    return f"exit code {code}" + (f", {last}" if last else "")


class ProcessTask:
    """A trial that was sent to a worker; `listen` gets its epochs."""

    def __init__(self, worker: WorkerProcess, ended: Callable[[bool], None], listen: Callable[[Heard], None]) -> None:
        self._worker, self._ended, self._listen = worker, ended, listen
        self._said: Any = None

    def done(self) -> bool:
        """Whether `result` returns at once; passes new epochs of the worker to `listen`."""
        try:
            while self._said is None and (said := self._worker.receive()) is not None:
                if isinstance(said, Heard):
                    self._listen(said)
                else:
                    self._said = said
        except (Died, NoWorker) as death:
            self._said = death
        return self._said is not None

    def result(self) -> Answer:
        """The worker's answer; raises its exception, or Died."""
        assert self._said is not None, "result is asked for when done"
        self._ended(isinstance(self._said, Died))
        if isinstance(self._said, Exception):
            raise self._said
        answer: Answer = self._said
        return answer
