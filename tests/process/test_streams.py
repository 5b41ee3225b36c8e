"""Standard streams that are closed, full or narrow."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from dqrun.cli import main
from dqrun.process import streams
from dqrun.process.streams import OutputLost, standard_streams

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="the system has no device that is always full")


def encoded(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)


def test_characters_that_a_stream_lacks_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = encoded("ascii"), encoded("ascii")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with standard_streams():
        print("données \udce9")
        print("\u6570", file=sys.stderr)
    assert out.buffer.getvalue() == b"donn\\xe9es \\udce9\n"  # type: ignore[attr-defined]
    assert err.buffer.getvalue() == b"\\u6570\n"  # type: ignore[attr-defined]
    assert (sys.stdout, sys.stderr) == (out, err)


class Full(io.StringIO):
    """A stream on a full disk."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_full_stdout_is_an_error_and_a_full_stderr_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Full())
    monkeypatch.setattr(sys, "stderr", Full())
    with standard_streams():
        print("a message", file=sys.stderr)
        with pytest.raises(OutputLost, match=r"could not be written \(No space left on device\)"):
            print("a result")


def test_a_command_whose_output_is_lost_ends_with_2_and_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", Full())
    assert main(["--version"]) == 2
    assert capsys.readouterr().err == (
        "dqrun: standard output could not be written (No space left on device): what is in the results folder is kept\n"
    )


@needs_full
@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [
        (">&-", 2, "Bad file descriptor"),
        (">/dev/full", 2, "No space left on device"),
        ("2>&-", 0, ""),
        ("2>/dev/full", 0, ""),
    ],
)
def test_real_streams(redirection: str, code: int, said: str) -> None:
    """With the interpreter's own flush at the end, which must not change the exit code."""
    program = (
        "import sys; from dqrun import cli; cli._dispatch = lambda words: print('note', file=sys.stderr) or "
        "print('result') or 0; sys.exit(cli.main([]))"
    )
    command = f'{sys.executable} -c "$1" {redirection}'
    ended = subprocess.run(["bash", "-c", command, "bash", program], capture_output=True, text=True)
    assert ended.returncode == code
    assert ended.stdout == ("result\n" if code == 0 else "")
    assert ended.stderr.count("\n") == (2 if said else 0) and said in ended.stderr


def test_closed_streams_are_occupied(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that was closed when the process began is None; its number must not go to a file of results."""
    monkeypatch.setattr(sys, "stderr", None)
    streams._occupy()
    assert sys.stderr is not None
