"""Downloads of published datasets: the addresses that PyG's classes know, and nothing else of these classes."""

from __future__ import annotations

import io
import socket
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

TIMEOUT = 60.0  # seconds without an answer


def download(class_name: str, arguments: Mapping[str, Any], root: Path) -> None:
    """Lets `torch_geometric.datasets.<class_name>(root, **arguments)` download, and stops it before it reads anything.

    Raises whatever the download raises.
    """
    try:
        with waiting_at_most(), quiet():
            dataset_class: type = getattr(import_module("torch_geometric.datasets"), class_name)
            downloading = type(class_name, (dataset_class,), {"_process": _stop})
            downloading(root=str(root), **arguments)
    except _DownloadedError:
        pass


@contextmanager
def waiting_at_most(seconds: float = TIMEOUT) -> Iterator[None]:
    """Within the block a connection that gives no answer for so long is an error; urllib waits for ever otherwise."""
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
    """Swallows PyG's progress lines, and the warnings that importing it gives."""
    with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
