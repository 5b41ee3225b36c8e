"""Atomic writes that survive a power failure.

Content is written to a new file beside its target and flushed to disk; then the file gets the target's name, and the
folder is flushed. Whenever the process or the machine stops, the target is either the old file or the new one.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PART = ".part"
_LONGEST = 60
"""Characters of a target's name that the name of its part repeats: file systems end names at 255 bytes."""
_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yields a new empty file beside `path`, which becomes `path` when the block ends well.

    When the block or a step of the replacement fails, the old file is untouched and the new one is removed. The file
    has the permissions that the umask gives to a new one. A symbolic link stays, and the file that it names is
    replaced. A target that is no regular file, such as /dev/stdout, gets a copy of the content. Raises OSError.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if target.exists() and not target.is_file():
        with _copied_to(target) as part:
            yield part
        return
    part = _new_part(target)
    try:
        yield part
        sync_file(part)
        part.replace(target)
    except BaseException:
        with suppress(OSError):  # the first error is the one to report
            part.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def write_bytes(path: Path | str, content: bytes) -> None:
    """Replaces `path` by a file with this content; see `replacing`."""
    with replacing(path) as part:
        part.write_bytes(content)


def write_text(path: Path | str, text: str) -> None:
    """Replaces `path` by a file with this text in UTF-8; lines end as they do in `text`."""
    write_bytes(path, text.encode())


def clear_parts(path: Path) -> None:
    """Removes temporary files of killed processes for `path`; no other process may be writing `path`."""
    for part in path.parent.iterdir():
        if part.name.startswith(f".{_shortened(path)}.") and part.name.endswith(f"{_PART}{path.suffix}"):
            part.unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Returns when the content of a file has reached the disk."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Returns when the names in a folder have reached the disk, on file systems that can tell."""
    if os.name == "nt":  # folders can't be opened there
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Returns when all files in a folder, and the folders below it, have reached the disk."""
    for path in folder.iterdir():
        if path.is_dir():
            sync_tree(path)
        else:
            sync_file(path)
    sync_folder(folder)


def _new_part(target: Path) -> Path:
    """An empty file with the permissions that the umask gives; its ending is the target's, which some writers obey."""
    part = target.with_name(f".{_shortened(target)}.{secrets.token_hex(6)}{_PART}{target.suffix}")
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return part


def _shortened(target: Path) -> str:
    return target.stem.encode()[:_LONGEST].decode(errors="ignore")


@contextmanager
def _copied_to(target: Path) -> Iterator[Path]:
    """A temporary file whose content is written to a device or pipe at the end."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "content"
        part.touch()
        yield part
        with part.open("rb") as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink)
