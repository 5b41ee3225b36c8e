"""Raw and processed files of PyG's datasets: cache first, then the mirror, then the network.

The cache is `data.root`, with PyG's own layout (`<root>/<folder>/raw`, `.../processed`). Per dataset one process at a
time works on it, behind a lock file. Raw files are fetched to a temporary folder, checked, and only then renamed into
the cache, so that neither a kill nor a broken file poisons it; files that a user put there are never deleted.
"""

from __future__ import annotations

import io
import logging
import os
import shutil
import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from filelock import FileLock

from dqrun.config import DataConfig
from dqrun.errors import DataError

log = logging.getLogger(__name__)

DOWNLOAD_TIMEOUT = 60.0  # seconds without an answer


@dataclass(frozen=True)
class RawFiles:
    """What a dataset is read from."""

    folder: str  # its folder in the cache and in the mirror
    required: tuple[str, ...]  # names in `<folder>/raw` without which it cannot be read
    check: Callable[[Path], None]  # raises DataError that names the first broken file of a raw folder
    processed: tuple[str, ...] = ("processed/data.pt",)  # PyG's files, relative to `folder`
    optional: str = ""  # glob of further files of `raw`, copied when they are there
    pyg_root: str = ""  # PyG's `root`, relative to the cache, for classes that do not append the folder themselves

    def missing(self, raw: Path) -> list[str]:
        """Required files that a raw folder lacks."""
        return [name for name in self.required if not (raw / name).is_file()]

    def names(self, raw: Path) -> list[str]:
        """Files of a raw folder to copy, required ones first."""
        extra = sorted(path.name for path in raw.glob(self.optional)) if self.optional else []
        return list(dict.fromkeys((*self.required, *extra)))


def load_pyg(class_name: str, files: RawFiles, data: DataConfig, *arguments: dict[str, Any]) -> list[Any]:
    """`torch_geometric.datasets.<class_name>`, once for each of `arguments` (keyword arguments without `root`).

    Raises DataError, in one line: a cache that cannot be written, files found nowhere, a broken raw file.
    """
    root = data.resolved_root
    with quiet():  # PyG warns of its own deprecations when it is imported
        dataset_class: type = getattr(import_module("torch_geometric.datasets"), class_name)
    with _locked(root, files.folder):
        return _load(dataset_class, files, data, root, arguments)


def unreadable(path: Path, error: Exception) -> DataError:
    """The error that names a raw file and says, in one line, why it cannot be read."""
    return DataError(f"{path}: truncated or not the expected format ({_reason(error)})")


def _load(
    dataset_class: type, files: RawFiles, data: DataConfig, root: Path, arguments: tuple[dict[str, Any], ...]
) -> list[Any]:
    home = root / files.folder

    def build() -> list[Any]:
        # PyG looks for raw files, and downloads them, even when the processed ones are there.
        offline = type(dataset_class.__name__, (dataset_class,), {"_download": lambda self: None})
        with quiet():
            return [offline(root=str(root / files.pyg_root), **each) for each in arguments]

    if all((home / name).is_file() for name in files.processed):
        try:
            return build()
        except Exception as error:  # a damaged file can raise nearly anything; it is made again from the raw files
            log.warning("%s: processed files are damaged (%s), reading the raw files again", home, _reason(error))
    _clear_processed(files, home)
    fetched = _fetch(dataset_class, files, data, root, arguments[0])
    try:
        log.info("%s: reading the raw files, once", files.folder)
        return build()
    except BaseException as error:
        _clear_processed(files, home)
        for path in fetched:
            path.unlink(missing_ok=True)
        if isinstance(error, Exception):  # of any kind: PyG met content that the checks let pass, or a full disk
            raise DataError(f"{home / 'raw'}: cannot be processed ({_reason(error)})") from error
        raise


def _fetch(dataset_class: type, files: RawFiles, data: DataConfig, root: Path, arguments: dict[str, Any]) -> list[Path]:
    """Makes the cache's raw folder complete and checked; returns the files that it added."""
    raw = root / files.folder / "raw"
    lacking = files.missing(raw)
    if not lacking:
        files.check(raw)
        return []
    looked = f"the cache {raw} lacks {lacking[0]}"
    mirror = data.resolved_mirror
    if mirror is None:
        looked += ", no mirror is set (data.mirror)"
    else:
        source = mirror / files.folder / "raw"
        lacking = files.missing(source)
        if not lacking:
            files.check(source)
            with _staging(root, files.folder) as staging:
                return _move(_copy(source, files.names(source), staging), raw, files)
        looked += f", the mirror {source} lacks {lacking[0]}"
    with _staging(root, files.folder) as staging:
        source = _download(dataset_class, files, staging, arguments, looked)
        files.check(source)
        return _move([source / name for name in files.names(source)], raw, files)


def _copy(source: Path, names: list[str], staging: Path) -> list[Path]:
    try:
        return [Path(shutil.copyfile(source / name, staging / name)) for name in names]
    except OSError as error:
        raise DataError(f"cannot copy {source} to the cache {staging.parent}: {_reason(error)}") from error


def _move(fetched: list[Path], raw: Path, files: RawFiles) -> list[Path]:
    """Renames files into the cache, beside those that are there already; returns the new ones."""
    try:
        raw.mkdir(parents=True, exist_ok=True)
        targets = [(path, raw / path.name) for path in fetched if not (raw / path.name).exists()]
        for path, target in targets:
            os.replace(path, target)
    except OSError as error:
        raise DataError(f"data.root: cannot write to {raw}: {_reason(error)}") from error
    added = [target for _, target in targets]
    if len(added) < len(fetched):  # mixed with files of the user's, which nobody has checked
        try:
            files.check(raw)
        except DataError:
            for path in added:
                path.unlink(missing_ok=True)
            raise
    return added


def _download(dataset_class: type, files: RawFiles, staging: Path, arguments: dict[str, Any], looked: str) -> Path:
    """Lets PyG download into `staging`; returns the raw folder."""

    def stop(self: object) -> None:
        raise _DownloadedError

    downloading = type(dataset_class.__name__, (dataset_class,), {"_process": stop})
    log.info("%s: downloading", files.folder)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)  # urllib waits for ever otherwise
    try:
        with quiet():
            downloading(root=str(staging / files.pyg_root), **arguments)
    except _DownloadedError:
        pass
    except Exception as error:  # urllib, aiohttp, zipfile, ...: whatever it was, the download failed
        raise DataError(f"{files.folder}: {looked}, and the download failed: {_reason(error)}") from error
    finally:
        socket.setdefaulttimeout(before)
    raw = staging / files.folder / "raw"
    lacking = files.missing(raw)
    if lacking:
        raise DataError(f"{files.folder}: {looked}, and the download holds no {lacking[0]}")
    return raw


class _DownloadedError(Exception):
    """Ends the construction of a PyG dataset after its download."""


def _clear_processed(files: RawFiles, home: Path) -> None:
    for name in files.processed:
        shutil.rmtree((home / name).parent, ignore_errors=True)


@contextmanager
def _locked(root: Path, folder: str) -> Iterator[None]:
    """Holds the lock file of one dataset of the cache."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / f".{folder}.lock")
        lock.acquire()
    except OSError as error:
        raise DataError(f"data.root: cannot write to {root}: {_reason(error)}") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _staging(root: Path, folder: str) -> Iterator[Path]:
    """An empty folder beside the cache's own, on the same file system; gone afterwards."""
    path = root / f".{folder}.part"
    shutil.rmtree(path, ignore_errors=True)  # left by a killed process
    try:
        path.mkdir()
    except OSError as error:
        raise DataError(f"data.root: cannot write to {root}: {_reason(error)}") from error
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def quiet() -> Iterator[None]:
    """Swallows PyG's progress lines and the warnings of old file formats."""
    with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _reason(error: BaseException) -> str:
    """One line that says what happened."""
    lines = str(error).strip().splitlines()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
