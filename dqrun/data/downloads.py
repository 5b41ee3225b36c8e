"""Downloads of published datasets: from the addresses in PyG's classes (nothing else of these classes is used), or as
an archive from one address."""

from __future__ import annotations

import io
import shutil
import socket
import urllib.request
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

from dqrun.data.archives import MOST_RATIO, MOST_UNPACKED

TIMEOUT = 60.0  # seconds without an answer


def of_pyg(class_name: str, subfolder: str = "", **arguments: Any) -> Callable[[Path], None]:
    """A download into a folder: `torch_geometric.datasets.<class_name>(root, **arguments)`, stopped before it reads.

    `subfolder`: of the folder, PyG's `root`, for classes that do not append their own. The function raises whatever
    the download raises.
    """
    return lambda folder: _download(class_name, arguments, folder / subfolder)


def _download(class_name: str, arguments: dict[str, Any], root: Path) -> None:
    try:
        with waiting_at_most(), quiet():
            dataset_class: type = getattr(import_module("torch_geometric.datasets"), class_name)
            downloading = type(class_name, (dataset_class,), {"_process": _stop})
            downloading(root=str(root), **arguments)
    except _DownloadedError:
        pass


def of_archive(url: str, top: str, folder: str) -> Callable[[Path], None]:
    """A download into a folder: the files below `top` of the ZIP archive at an address, to `folder` in that folder.

    The archive is stored beside them while it is unpacked, so that it is never in memory. The function raises
    ValueError for content that is no archive, a decompression bomb, and names that leave its folder; else whatever the
    download raises.
    """
    return lambda root: _fetch_archive(url, f"{top}/", root / folder)


def _fetch_archive(url: str, top: str, folder: Path) -> None:
    folder.mkdir(parents=True)
    packed = folder / "archive.zip"
    with waiting_at_most(), urllib.request.urlopen(url) as answer, open(packed, "wb") as file:
        shutil.copyfileobj(answer, file, 1 << 20)
    with zipfile.ZipFile(packed) as archive:
        members = [each for each in archive.infolist() if each.filename.startswith(top) and not each.is_dir()]
        if sum(each.file_size for each in members) > max(MOST_UNPACKED, MOST_RATIO * packed.stat().st_size):
            raise ValueError(f"{url} unpacks to far more bytes than it has")
        for member in members:
            path = folder / member.filename.removeprefix(top)
            if not path.resolve().is_relative_to(folder.resolve()):
                raise ValueError(f"{url} holds {member.filename[:60]!r}, which lies outside its folder")
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, path.open("wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
    packed.unlink()


@contextmanager
def waiting_at_most(seconds: float = TIMEOUT) -> Iterator[None]:
    """Inside the block connections time out after `seconds` without an answer; by default urllib waits forever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


class _DownloadedError(Exception):
    """Ends the construction of a PyG dataset after its download."""


def _stop(self: object) -> None:
    raise _DownloadedError


@contextmanager
def quiet() -> Iterator[None]:
    """Suppresses PyG's progress lines, and the warnings of its import."""
    with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
