"""Raw files of published datasets: cache first, then the mirror, then the network; read once, into memory.

A source parses the bytes that were read and checked here; no file is opened again. The cache is `data.root`:
`<root>/<folder>/raw` has the downloaded files (or files of the user, which are never replaced),
`<root>/<folder>/dqrun-data.safetensors` the tensors made from them. Nothing is ever unpickled as arbitrary objects.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from dqrun.config import DataConfig
from dqrun.data.arrays import GraphArrays
from dqrun.data.cache import FILE, Cached, read_cache, write_cache
from dqrun.data.number_text import canonical_text
from dqrun.data.published_files import compare_with_published
from dqrun.errors import DataError

log = logging.getLogger(__name__)

TEXT = (".txt", ".index")

SILENT = 2.0
"""Seconds of waiting for another process before a line says so."""
LONGEST = 3600.0
"""Seconds after which waiting ends with an error: a download of the largest dataset takes minutes."""


@dataclass(frozen=True)
class RawFiles:
    """The files of a dataset, and the function that downloads them."""

    folder: str  # its folder in the cache and in the mirror
    required: tuple[str, ...]  # names in `<folder>/<base>` without which it cannot be read
    fetch: Callable[[Path], None]  # downloads into a folder, so that `<folder>/<base>` of that has the files
    optional: tuple[str, ...] = ()  # names of files that change the data when they are there
    base: str = "raw"

    def missing(self, raw: Path) -> list[str]:
        """Required files that a raw folder lacks."""
        return [name for name in self.required if not (raw / name).is_file()]


@dataclass(frozen=True)
class RawContent:
    """The content of raw files, as read; texts in canonical form."""

    folder: Path
    content: dict[str, bytes]

    @classmethod
    def read(cls, folder: Path, files: RawFiles) -> RawContent:
        """Raises DataError for a file that cannot be read."""
        content = {}
        for name in (*files.required, *files.optional):
            path = folder / name
            if name in files.required or path.is_file():
                try:
                    content[name] = path.read_bytes()
                except OSError as error:
                    raise DataError(f"{path}: cannot be read: {_reason(error)}") from error
        texts = {name: canonical_text(data) for name, data in content.items() if name.endswith(TEXT)}
        return cls(folder, content | texts)

    def path(self, name: str) -> Path:
        """Where a file lies, for errors."""
        return self.folder / name

    def digests(self) -> dict[str, str]:
        """SHA-256 of each file."""
        return {name: hashlib.sha256(data).hexdigest() for name, data in self.content.items()}


Parse = Callable[[RawContent], GraphArrays]


def load_raw(files: RawFiles, data: DataConfig, parse: Parse) -> GraphArrays:
    """The arrays that `parse` makes from the raw files, through the cache; locks the dataset's cache.

    Raises DataError, in one line, for a cache that cannot be written, files that are not found, a broken raw file, and
    raw files with other data than those from which this cache was made (rows of both would share the dataset's name).
    """
    root = data.resolved_root
    with _locked(root, files.folder):
        raw = root / files.folder / files.base
        source = _local_folder(files, data, raw)
        if source is not None:
            return _cached(RawContent.read(source, files), root / files.folder / FILE, parse)
        if (cached := read_cache(root / files.folder / FILE)) is not None:  # its raw files are gone
            log.info("%s: data from the cache in %s, whose raw files are gone", files.folder, root / files.folder)
            return cached.arrays
        with _staging(root, files.folder) as staging:
            _check_parses(downloaded := _download(files, staging, data, raw), files, parse)
            added = _move(downloaded, raw, files)
        try:
            return _cached(RawContent.read(raw, files), root / files.folder / FILE, parse)
        except DataError:
            for path in added:
                path.unlink(missing_ok=True)
            raise


def unreadable(path: Path, error: Exception) -> DataError:
    """The error that names a raw file and says, in one line, why it cannot be read."""
    return DataError(f"{path}: truncated or not the expected format ({_reason(error)})")


def _cached(raw: RawContent, path: Path, parse: Parse) -> GraphArrays:
    """The arrays cached in `path` for the same raw files; else those that `parse` makes, which are then cached."""
    digests, cached = raw.digests(), read_cache(path)
    compare_with_published(raw.folder, path.parent.name, digests)
    if cached is not None and cached.raw == digests:
        log.info("%s: data from the cache %s, of the raw files in %s", path.parent.name, path, raw.folder)
        return cached.arrays
    arrays = parse(raw)
    if cached is not None and not arrays.same_as(cached.arrays):
        raise DataError(
            f"{raw.folder} gives other data than before ({_difference(cached.raw, digests)}), and rows of both would "
            f"share a name: put the files back, or delete {path} to go on with these"
        )
    log.info("%s: data from the raw files in %s, kept in the cache %s", path.parent.name, raw.folder, path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_cache(path, Cached(digests, arrays))
    except OSError as error:
        raise DataError(f"data.root: cannot write to {path.parent}: {_reason(error)}") from error
    return arrays


def _difference(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """How the raw files differ, by name."""
    words = [f"{name} is missing" for name in before if name not in now]
    words += [f"{name} is new" for name in now if name not in before]
    words += [f"{name} has changed" for name in now if name in before and now[name] != before[name]]
    return ", ".join(words)


def _local_folder(files: RawFiles, data: DataConfig, raw: Path) -> Path | None:
    """The cache's raw folder or the mirror's, whichever has all required files first."""
    mirror = data.resolved_mirror
    folders = [raw] if mirror is None else [raw, mirror / files.folder / files.base]
    return next((folder for folder in folders if not files.missing(folder)), None)


def _check_parses(folder: Path, files: RawFiles, parse: Parse) -> None:
    """Raises DataError for files that do not parse, so that these do not get into the cache."""
    parse(RawContent.read(folder, files))


def _move(source: Path, raw: Path, files: RawFiles) -> list[Path]:
    """Renames downloaded files into the cache, beside those that are there already; returns the new ones."""
    names = [name for name in (*files.required, *files.optional) if (source / name).is_file()]
    try:
        raw.mkdir(parents=True, exist_ok=True)
        added = [name for name in names if not (raw / name).exists()]
        for name in added:
            (raw / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(source / name, raw / name)
    except OSError as error:
        raise DataError(f"data.root: cannot write to {raw}: {_reason(error)}") from error
    return [raw / name for name in added]


def _download(files: RawFiles, staging: Path, data: DataConfig, raw: Path) -> Path:
    """Downloads into `staging`; returns the raw folder."""
    looked = _places(files, data, raw)
    log.info("%s: downloading", files.folder)
    try:
        files.fetch(staging)
    except Exception as error:  # urllib, aiohttp, zipfile, ...: whatever it was, the download failed
        raise DataError(f"{files.folder}: {looked}, and the download failed: {_reason(error)}") from error
    folder = staging / files.folder / files.base
    lacking = files.missing(folder)
    if lacking:
        raise DataError(f"{files.folder}: {looked}, and the download holds no {lacking[0]}")
    return folder


def _places(files: RawFiles, data: DataConfig, raw: Path) -> str:
    """The folders that were searched, and the first missing file of each."""
    looked = f"the cache {raw} lacks {files.missing(raw)[0]}"
    mirror = data.resolved_mirror
    if mirror is None:
        return f"{looked}, no mirror is set (data.mirror)"
    source = mirror / files.folder / files.base
    return f"{looked}, the mirror {source} lacks {files.missing(source)[0]}"


@contextmanager
def _locked(root: Path, folder: str) -> Iterator[None]:
    """Holds the lock file of one dataset of the cache."""
    lock = FileLock(root / f".{folder.replace('/', '-')}.lock")
    try:
        root.mkdir(parents=True, exist_ok=True)
        _acquire(lock, folder)
    except OSError as error:
        raise DataError(f"data.root: cannot write to {root}: {_reason(error)}") from error
    try:
        yield
    finally:
        lock.release()


def _acquire(lock: FileLock, folder: str) -> None:
    """Takes the lock; says so when it has to wait. Raises DataError when another process holds it for too long."""
    with suppress(Timeout):
        lock.acquire(timeout=SILENT)
        return
    log.warning("%s: another process reads or downloads this dataset; waiting for it (%s)", folder, lock.lock_file)
    try:
        lock.acquire(timeout=LONGEST)
    except Timeout:
        raise DataError(
            f"{folder}: another process has held {lock.lock_file} for {LONGEST / 60:.0f} minutes: "
            "end that process, or set another data.root"
        ) from None


@contextmanager
def _staging(root: Path, folder: str) -> Iterator[Path]:
    """An empty folder beside the cache's own, on the same file system; gone afterwards."""
    path = root / f".{folder.replace('/', '-')}.part"
    shutil.rmtree(path, ignore_errors=True)  # left by a killed process
    try:
        path.mkdir()
    except OSError as error:
        raise DataError(f"data.root: cannot write to {root}: {_reason(error)}") from error
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _reason(error: BaseException) -> str:
    """The reason of an error in one line."""
    lines = str(error).strip().splitlines()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, ValueError) and lines:
        return lines[0]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
