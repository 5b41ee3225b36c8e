"""What cannot be written is one line, and the old file stays."""

import errno
import os
from pathlib import Path

import pytest

from dqrun.analysis.files import write_atomically
from dqrun.errors import ResultsError


def test_the_old_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    write_atomically(path, b"old")

    def full(self: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ResultsError, match=r"could not write .*a\.txt: No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="No such file or directory"):
        write_atomically(tmp_path / "none" / "a.txt", b"")
