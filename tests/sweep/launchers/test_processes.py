"""Worker processes: what they are sent, what they say, how they die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest

from dqrun.sweep.launchers import processes, serve
from dqrun.sweep.launchers.pool import Answer, Died, Heard
from dqrun.sweep.launchers.processes import NoWorker, ProcessTask, WorkerProcess, cause_of_death
from dqrun.training.state import Epoch

START = "import sys; sys.path[:] = {path}; "
READY = START + (
    "import os, signal; from multiprocessing.connection import Connection; "
    "answers = Connection(os.dup(1), readable=False); answers.send('ready'); "
)
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems tell a worker by its input only")


class Fake:
    """Jobs that a fake worker never looks at."""

    class planned:
        name = "r0"

    def parcel(self) -> str:
        return "nothing"


def run(code: str, monkeypatch: pytest.MonkeyPatch) -> tuple[ProcessTask, list[Heard], list[bool]]:
    """A task of a worker that runs `code` instead of serving trials, when it is done; what it told, and its end."""
    monkeypatch.setattr(processes, "_SERVE", code)
    worker = WorkerProcess()
    worker.send(Fake())  # type: ignore[arg-type]
    heard: list[Heard] = []
    ended: list[bool] = []
    task = ProcessTask(worker, ended.append, heard.append)
    while not task.done():
        time.sleep(0.005)
    worker.stop()
    return task, heard, ended


def test_epochs_and_the_answer_of_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    epoch = "Heard('gin', 9, Epoch(3, 0.5, 0.6, 0.7, 0.1, 1.0))"
    imports = "from dqrun.sweep.launchers.pool import Answer, Heard; from dqrun.training.state import Epoch; "
    say = f"answers.send({epoch}); answers.send(Answer(None, ['a note'], []))"
    task, heard, ended = run(READY + imports + say, monkeypatch)
    assert task.result() == Answer(None, ["a note"], [])
    assert heard == [Heard("gin", 9, Epoch(3, 0.5, 0.6, 0.7, 0.1, 1.0))] and ended == [False]


@pytest.mark.parametrize(
    ("code", "reason", "log"),
    [
        (
            "os.kill(os.getpid(), signal.SIGKILL)",
            "killed by SIGKILL (by a person, or by the system for lack",
            "SIGKILL",
        ),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV", "SIGSEGV"),
        (
            "print('x', 'the cause', sep=chr(10), file=sys.stderr); os._exit(3)",
            "exit code 3, the cause",
            "x\nthe cause",
        ),
    ],
)
def test_a_dead_worker_says_what_it_died_of(code: str, reason: str, log: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task, _, ended = run(READY + code, monkeypatch)
    with pytest.raises(Died, match="its process died: ") as caught:
        task.result()
    assert reason in str(caught.value) and log in caught.value.log and ended == [True]


def test_a_worker_that_cannot_start_is_the_fault_of_no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    task, _, _ = run(START + "import no_such_module", monkeypatch)
    with pytest.raises(NoWorker, match="could not start: exit code 1, ModuleNotFoundError: No module named 'no_such"):
        task.result()


def test_modules_of_the_folder_are_no_modules_of_a_worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(tmp_path))])
    Path("queue.py").write_text("raise SystemExit('the wrong queue')\n")
    say = (
        "import queue; from dqrun.sweep.launchers.pool import Answer; answers.send(Answer(None, [queue.__file__], []))"
    )
    task, _, _ = run(READY + say, monkeypatch)
    assert "site-packages" not in task.result().notes[0] and str(tmp_path) not in task.result().notes[0]


def test_causes_of_death() -> None:
    assert cause_of_death(1, "") == "exit code 1"
    assert cause_of_death(-99, "") == "killed by signal 99"
    assert cause_of_death(1, "a\nb\n\n") == "exit code 1, b"


def test_an_ended_input_ends_a_worker_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its input ends when the process of the command does, whatever that dies of."""
    codes: list[int] = []

    def leave(code: int) -> None:
        codes.append(code)
        raise SystemExit

    monkeypatch.setattr(os, "_exit", leave)
    receiver, sender = Pipe(duplex=False)
    waiting: Any = serve.queue.SimpleQueue()
    sender.send("a job")
    sender.close()
    with pytest.raises(SystemExit):
        serve._receive(receiver, waiting)
    assert waiting.get() == "a job" and codes == [1]


def test_errors_reach_the_other_process(monkeypatch: pytest.MonkeyPatch) -> None:
    class Local(Exception):
        """Can't be pickled."""

    def attempt(job: object, listen: Callable[[Heard], None]) -> Answer:
        raise errors.pop()

    errors: list[Exception] = [Local("first"), ValueError("second")]
    monkeypatch.setattr(serve, "attempt", attempt)
    receiver, sender = Pipe(duplex=False)
    for _ in range(2):
        serve._answer(object(), sender)  # type: ignore[arg-type]
    said = [receiver.recv(), receiver.recv()]
    assert [type(error) for error in said] == [ValueError, RuntimeError] and str(said[1]) == "Local: first"


@linux
def test_a_worker_dies_with_its_parent_even_when_it_is_stopped() -> None:
    child = "import os; from dqrun.process.interrupts import end_with; end_with(os.getppid()); print('on'); input()"
    code = (
        "import subprocess, sys, time; process = subprocess.Popen([sys.executable, '-c', sys.argv[1]], "
        "stdin=subprocess.PIPE, stdout=subprocess.PIPE); process.stdout.readline(); print(process.pid, flush=True); "
        "time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, child], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    os.kill(pid, signal.SIGSTOP)
    parent.kill()
    parent.communicate()
    while not _gone(pid):
        time.sleep(0.005)


@linux
def test_a_worker_whose_parent_is_dead_ends_at_once() -> None:
    code = "from dqrun.process.interrupts import end_with; end_with(1); print('it lives')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X")
    except OSError:
        return True
