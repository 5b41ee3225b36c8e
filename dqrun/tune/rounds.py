"""The settings of a search: a file per round of settings, written before the first of them is trained.

A search consists only of these files and the rows of its trials. Each round depends only on the earlier rounds and
their rows, so that an interrupted search continues with the same settings. `round-0002-4.json` is the third round,
with four settings; a damaged round is suggested again.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dqrun.config.search import Dimension
from dqrun.durable import clear_parts, write_text
from dqrun.errors import ResultsError
from dqrun.sweep.locks import LockFault, LockFile, read_owner

FORMAT = "dqrun-round-1"
POLL = 0.2
"""Seconds between two checks of a lock that another process holds."""
_NAME = re.compile(r"round-(\d{4,})-([1-9]\d*)\.json", re.ASCII)

Settings = dict[str, float]
"""A value for each dimension, by its name."""


class Rounds:
    """The rounds of the search `name`, in the folder `studies/NAME` of `folder`."""

    def __init__(self, folder: Path, name: str, space: Sequence[Dimension]) -> None:
        self.folder, self.name, self._space = folder / "studies" / name, name, space
        self._lock = LockFile(folder / ".locks" / f"study-{name}.lock")

    @contextmanager
    def alone(self, say: Callable[[str], None]) -> Iterator[None]:
        """Holds the search's lock within the block; waits for it, and `say` gets lines with its owner.

        Raises ResultsError with the file's name for errors of the file system.
        """
        try:
            while not self._lock.acquire():
                say(f"{self.name}: waiting for {read_owner(self._lock.path) or 'another process'}, which asks as well")
                time.sleep(POLL)
            self.folder.mkdir(parents=True, exist_ok=True)
            yield
        except LockFault as error:
            raise ResultsError(str(error)) from None
        except OSError as error:
            raise ResultsError(f"could not write {error.filename or self.folder}: {error.strerror}") from None
        finally:
            self._lock.release()
            with suppress(OSError):  # the folder may have locks of the search's trials
                self._lock.path.parent.rmdir()

    def read(self, complain: Callable[[str], None]) -> list[list[Settings]]:
        """The rounds so far, up to the first that is missing or damaged; `complain` gets a line on a damaged one."""
        sizes = self.sizes()
        rounds: list[list[Settings]] = []
        while len(rounds) in sizes:
            path = self._path(len(rounds), sizes[len(rounds)])
            try:
                rounds.append(self._checked(path.read_bytes(), sizes[len(rounds)]))
            except (OSError, ValueError, RecursionError) as error:
                reason = error.strerror if isinstance(error, OSError) else str(error).partition("\n")[0]
                complain(f"{path} is damaged: its settings are suggested again ({reason})")
                break
        return rounds

    def sizes(self) -> dict[int, int]:
        """The number of settings of each round that has a file; of two files of one round the smaller counts."""
        names = sorted((path.name for path in self.folder.glob("round-*.json")), reverse=True)
        found = [match for name in names if (match := _NAME.fullmatch(name)) is not None]
        return {int(match[1]): int(match[2]) for match in found}

    def write(self, number: int, settings: list[Settings]) -> None:
        """Writes a round's file; the caller is within `alone`. Raises OSError."""
        content = {"format": FORMAT, "study": self.name, "settings": settings}
        path = self._path(number, len(settings))
        clear_parts(path)
        write_text(path, json.dumps(content, indent=1) + "\n")

    def _path(self, number: int, size: int) -> Path:
        return self.folder / f"round-{number:04}-{size}.json"

    def _checked(self, content: bytes, size: int) -> list[Settings]:
        """The settings of a round from its file; raises ValueError for any other content."""
        tree = json.loads(content)
        if not isinstance(tree, dict) or tree.get("format") != FORMAT or tree.get("study") != self.name:
            raise ValueError("it is not a round of this search")
        settings = tree.get("settings")
        if not isinstance(settings, list) or len(settings) != size or not all(map(self._fits, settings)):
            raise ValueError(f"it must have {size} settings, each with a value in the range of each dimension")
        return settings

    def _fits(self, values: Any) -> bool:
        if not isinstance(values, dict) or values.keys() != {dimension.name for dimension in self._space}:
            return False
        return all(
            type(value := values[dimension.name]) in (int, float)
            and math.isfinite(value)
            and dimension.low <= value <= dimension.high
            for dimension in self._space
        )
