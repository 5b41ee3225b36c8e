"""The compile cache of one kernel, on disk: a damaged entry is deleted and compiled again.

numba writes an index (`.nbi`) and a file of machine code for each signature (`.nbc`), reads both with pickle and runs
the code. After a full disk or a power loss a truncated file makes each later process fail, and a file with blocks of
zeros is executed. Therefore a SHA-256 precedes the machine code, and unreadable files are removed.
"""

from __future__ import annotations

import hashlib
import logging
import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba.core import caching

DIGEST_BYTES = hashlib.sha256().digest_size
_File: Any = caching.IndexDataCacheFile  # untyped in numba
_Cache: Any = caching.FunctionCache


@cache
def sources() -> str:
    """SHA-256 of all source files that may be a part of a kernel's machine code.

    numba itself checks only the file that defines the kernel.
    """
    digest = hashlib.sha256()
    kernels = Path(__file__).parents[1]
    for path in sorted([*(kernels / "cpu").rglob("*.py"), *(kernels / "integer").rglob("*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class CheckedFile(_File):  # type: ignore[misc]
    """numba's files of a kernel, with a SHA-256 before the machine code."""

    def _save_data(self, name: str, data: object) -> None:
        content: bytes = self._dump(data)
        with self._open_for_write(self._data_path(name)) as file:
            file.write(hashlib.sha256(content).digest() + content)

    def _load_data(self, name: str) -> Any:
        stored = Path(self._data_path(name)).read_bytes()
        content = stored[DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != stored[:DIGEST_BYTES]:
            raise ValueError(f"{name} is not as it was written")
        return pickle.loads(content)


class MendingCache(_Cache):  # type: ignore[misc]
    """numba's cache of one function, which keeps working with damaged or unwritable files.

    Raises RuntimeError if no cache folder is writable.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        locator = self._impl.locator
        stamp = (locator.get_source_stamp(), sources())
        files = CheckedFile(self._cache_path, self._impl.filename_base, stamp)
        self._cache_file: Any = files

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The machine code of a signature; None if there is none or it is unreadable: it is then compiled again."""
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # unpickling and linking damaged data can raise anything
            self._forget(error)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Stores the machine code of a signature; on a full disk it is not stored, and compiled again next time."""
        try:
            super().save_overload(sig, data)
        except Exception as error:  # OSError, or a damaged index that another process has left since it was read
            self._forget(error)

    def _forget(self, error: Exception) -> None:
        """Deletes the index, without which numba knows no entry."""
        index = Path(self._cache_file._index_path)
        logging.getLogger("dqrun").info("%s is deleted, its kernel compiled again (%s)", index, error)
        try:
            index.unlink(missing_ok=True)
        except OSError as problem:
            logging.getLogger("dqrun").warning("%s is damaged and cannot be deleted (%s)", index, problem.strerror)
